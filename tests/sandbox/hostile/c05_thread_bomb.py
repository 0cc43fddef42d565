# attack: start threads without end, with small stacks
# task: known
# expect: verdict=fail
# host must observe: tasks bounded, none left
import threading, time

threading.stack_size(64 << 10)
n = 0
while True:
    try:
        threading.Thread(target=time.sleep, args=(60,)).start()
        n += 1
    except RuntimeError:
        break
if n > 3000:
    f = lambda x: x + 1
