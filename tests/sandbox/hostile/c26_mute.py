# attack: close the channel and stay
# task: known
# expect: verdict=fail
# host must observe: killed at the wall limit
import os, time

os.close(3)
time.sleep(10**6)
