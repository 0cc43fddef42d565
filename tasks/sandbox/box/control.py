"""The connection between the harness and a box's warm process: a byte, a descriptor with it, then one message."""

from __future__ import annotations

import os
import socket
from typing import Any

from . import wire


def take_control(descriptor: int) -> socket.socket:
    """The connection to the harness, moved away from descriptor 3, and /dev/null for 0, 1 and 2."""
    control = socket.socket(fileno=os.dup2(descriptor, 100, inheritable=False))
    os.close(descriptor)
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    return control


def receive_job(control: socket.socket) -> tuple[dict[str, Any], int]:
    """The next job and the socket end that came with it. Raises EOFError when the harness is gone."""
    head, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    if not head:
        raise EOFError
    return wire.receive(control.fileno(), 1 << 30), descriptors[0]
