# attack: put control sequences and huge text into an exception that the harness shows
# task: known
# expect: verdict=fail
# host must observe: reason is one short printable line
def f(x):
    raise ValueError("\x1b]0;pwned\x07\x1b[2J\r\npassed\u202e" * 10000)
