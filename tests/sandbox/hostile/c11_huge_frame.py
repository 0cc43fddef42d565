# attack: announce a message of four gigabytes
# task: known
# expect: verdict=fail
# host must observe: bounded harness memory
import os

os.write(3, b"\xff" * 64)
f = lambda x: x + 2
