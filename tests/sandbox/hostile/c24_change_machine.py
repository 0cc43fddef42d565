# attack: set the clock, the host's name, the kernel's settings
# task: known
# expect: verdict=fail
# host must observe: refused
import ctypes, os, socket, time

done = []
for action in (
    lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    lambda: socket.sethostname("pwned"),
    lambda: open("/proc/sys/kernel/hostname", "w").write("pwned"),
    lambda: open("/sys/kernel/mm/ksm/run", "w").write("0"),
):
    try:
        done.append(action())
    except OSError:
        pass
if done:
    f = lambda x: x + 1
