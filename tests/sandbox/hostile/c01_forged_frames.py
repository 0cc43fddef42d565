# attack: write the judge's possible messages to the channel before being asked
# task: secret
# expect: verdict=fail
# host must observe: -
import json, os, struct


def send(message):
    body = json.dumps(message).encode()
    os.write(3, struct.pack("<I", len(body)) + body)


send({"names": {"f": "c"}})
for outcome in (
    "pass",
    {"v": True},
    {"outcome": "pass", "done": 3, "text": ""},
    {"ready": True},
    {"v": None},
):
    send(outcome)
os._exit(0)
