"""The connection between the harness and a box's warm process: a byte, maybe with a descriptor, then one message."""

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


def send(control: socket.socket, message: dict[str, Any], descriptor: int | None = None) -> None:
    """A message, with a descriptor or without. Raises OSError."""
    data = b"m" + wire.pack(message)
    if descriptor is not None:  # without one a plain write will do: it is all that the judge may use
        data = data[socket.send_fds(control, [data], [descriptor]) :]
    wire.write(control.fileno(), data)


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and the descriptor that came with it, if any. Raises EOFError when the other side is gone."""
    head, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    if not head:
        raise EOFError
    return wire.receive(control.fileno(), 1 << 30), descriptors
