# attack: interrupt the answering code again and again with timers and handlers
# task: secret
# expect: verdict=fail
# host must observe: -
import signal


def storm(*_):
    raise AssertionError


signal.signal(signal.SIGALRM, storm)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)


def f(x):
    return 0
