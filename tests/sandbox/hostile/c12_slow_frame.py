# attack: send an answer one byte at a time, for ever
# task: known
# expect: verdict=fail
# host must observe: killed at the wall limit
import os, time

os.write(3, b"\xff\0\0\0")
while True:
    os.write(3, b" ")
    time.sleep(0.2)
