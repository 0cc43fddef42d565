# attack: reach host sockets by address from one end of a datagram pair
# task: secret
# expect: verdict=fail
# host must observe: 0 datagrams
import json, socket

a, b = socket.socketpair(type=socket.SOCK_DGRAM)
a.sendto(b"x", "\0h2abs")
f = lambda x: 0
