"""File access without namespaces: only the named folders can be read, nothing can be written (Landlock).

Metadata (stat) of other paths stays visible; that is the difference to a mount namespace. ABI 3 (Linux 6.2) is the
least that covers truncation; where the kernel has them, TCP (ABI 4) and signals and abstract sockets (ABI 6) are
shut too, on top of the system call filter.
"""

from __future__ import annotations

import ctypes
import os
import struct

LEAST_ABI = 3
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3


def abi(libc: ctypes.CDLL) -> int:
    """The kernel's Landlock version, 0 where there is none."""
    return max(0, int(libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)))


def restrict(libc: ctypes.CDLL, readable: list[str]) -> None:
    """From now on this process may open only what lies under `readable`, for reading. Raises OSError."""
    version = abi(libc)
    if version < LEAST_ABI:
        raise OSError(f"Landlock ABI {version}, {LEAST_ABI} is needed (Linux 6.2)")
    files = (1 << (15 if version < 5 else 16)) - 1
    rules = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    rules = rules[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for path in readable:
        descriptor = os.open(path, os.O_PATH)
        access = _READ_FILE | _READ_FOLDER if os.path.isdir(path) else _READ_FILE  # noqa: PTH112 (no pathlib in boxes)
        if libc.syscall(_ADD, ruleset, 1, struct.pack("<Qi", access, descriptor), 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        os.close(descriptor)
    if libc.syscall(_RESTRICT, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)
