# attack: let the kernel send SIGKILL to others through F_SETOWN and F_SETSIG
# task: known
# expect: verdict=fail
# host must observe: victim and harness alive
import fcntl, os, socket

a, b = socket.socketpair()
done = 0
for pid in (os.getppid(), -1, 1):
    for fd in (a.fileno(), 3):
        try:
            fcntl.fcntl(fd, 10, 9)
            fcntl.fcntl(fd, 8, pid)
            fcntl.fcntl(fd, 4, os.O_ASYNC)
            done = 1
        except OSError:
            pass
b.send(b"x")
if done:
    f = lambda x: x + 1
