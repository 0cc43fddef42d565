# attack: send the judge sets of colliding numbers (quadratic to build)
# task: known
# expect: verdict=fail
# host must observe: bounded time, the next check is right
import json, os, struct


def send(message):
    body = json.dumps(message).encode()
    os.write(3, struct.pack("<I", len(body)) + body)


M = 2**61 - 1
send({"names": {"f": "c"}})
send({"v": {"S": [{"i": format(M * i, "x")} for i in range(1, 60000)]}})
import time

time.sleep(60)
