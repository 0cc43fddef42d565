# attack: execute a program from an anonymous or a scratch file
# task: known
# expect: verdict=fail
# host must observe: refused
import ctypes, os

c = ctypes.CDLL(None, use_errno=True)
for make in (
    lambda: os.memfd_create("x"),
    lambda: os.open("x", os.O_CREAT | os.O_RDWR, 0o777),
    lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR),
):
    try:
        fd = make()
        os.write(fd, b"#!/bin/sh\n")
        c.fexecve(fd, (ctypes.c_char_p * 2)(b"x", None), (ctypes.c_char_p * 1)(None))
        if ctypes.get_errno() not in (1, 38):
            f = lambda x: x + 1
    except OSError:
        pass
