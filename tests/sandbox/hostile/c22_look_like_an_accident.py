# attack: die in a way that could be taken for the sandbox's failure, to be retried for ever
# task: known
# expect: verdict=fail
# host must observe: status is not sandbox-error
import ctypes, os, signal, threading

c = ctypes.CDLL(None)
for call in (
    lambda: os.kill(os.getpid(), 9),
    lambda: signal.raise_signal(9),
    lambda: signal.pthread_kill(threading.get_ident(), 9),
    lambda: c.syscall(234, os.getpid(), threading.get_native_id(), 9),
    lambda: c.syscall(200, os.getpid(), 9),
):
    try:
        call()
    except OSError:
        pass
os._exit(99)
