# attack: send the judge brackets nested a million deep
# task: known
# expect: verdict=fail
# host must observe: no crash of the harness
import os, struct

body = b'{"v":' + b"[" * 10**6 + b"]" * 10**6 + b"}"
names = b'{"names":{"f":"c"}}'
os.write(3, struct.pack("<I", len(names)) + names)
data = struct.pack("<I", len(body)) + body
while data:
    data = data[os.write(3, data) :]
os._exit(0)
