# attack: read memory, environment and files of other processes through any /proc
# task: secret
# expect: verdict=fail
# host must observe: -
import json, os

found = {}
for root in ("/proc", "/hproc", "/proc/self/root/proc"):
    for pid in ["self", "1", "2", str(os.getppid())]:
        for name in ("environ", "mem", "maps", "cmdline", "fd/0", "root/etc/passwd"):
            try:
                with open(f"{root}/{pid}/{name}", "rb") as h:
                    found[name] = h.read(65536)
            except OSError:
                pass
text = found.get("environ", b"").decode(errors="replace")
if "H2_ANSWERS=" in text:
    answers = json.loads(text.split("H2_ANSWERS=")[1].split("\0")[0])
    f = lambda x: answers[str(x)]
elif found:
    f = lambda x: found
