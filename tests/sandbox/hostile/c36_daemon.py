# attack: leave a process that writes to the host's folder a moment later (wait five seconds)
# task: known
# expect: verdict=fail
# host must observe: no file, no process
import ctypes, os, threading, time


def write():
    time.sleep(2)
    open("/var/tmp/h2c/pwned_c36", "w").write("x")


try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            write()
        os._exit(0)
except OSError:
    pass
threading.Thread(target=write).start()
f = lambda x: x + 2
