# attack: write to the channel without end while the judge waits
# task: known
# expect: verdict=fail
# host must observe: bounded harness memory
import os

data = b"\x00" * 65536
while True:
    os.write(3, data)
