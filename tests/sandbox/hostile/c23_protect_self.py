# attack: make the process unkillable: memory score, death signal, real-time priority, locked memory
# task: known
# expect: verdict=fail
# host must observe: refused
import ctypes, os

c = ctypes.CDLL(None, use_errno=True)
done = (
    c.prctl(1, 0, 0, 0, 0) == 0 or c.mlockall(3) == 0 or c.setpriority(0, 0, -20) == 0
)
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    done = True
except OSError:
    pass
for path in ("/proc/self/oom_score_adj", "/hproc/self/oom_score_adj"):
    try:
        with open(path, "w") as h:
            h.write("-1000")
        done = True
    except OSError:
        pass
if done:
    f = lambda x: x + 1
