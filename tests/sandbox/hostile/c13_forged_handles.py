# attack: answer with handles and tags that do not exist
# task: secret
# expect: verdict=fail
# host must observe: -
import json, os, struct


def send(message):
    body = json.dumps(message).encode()
    os.write(3, struct.pack("<I", len(body)) + body)


def f(x):
    return None


send({"names": {"f": "c", "__builtins__": "c", "AssertionError": "c", "assert": "c"}})
for v in (
    {"h": -1},
    {"g": "f"},
    {"h": [1]},
    {"h": {"h": 0}},
    {"T": "object"},
    {"i": []},
    {"d": [[{"t": []}]]},
    {"?": 1},
):
    send({"v": v})
os._exit(0)
