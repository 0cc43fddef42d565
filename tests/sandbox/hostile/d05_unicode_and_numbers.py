# attack: none: text, bytes, sets, nested data, big and special numbers
# task: known
# expect: verdict=pass
# host must observe: -
# tests: ["assert f('\\u00e9\\U0001f600\\x00\\n') == '\\u00e9\\U0001f600\\x00\\n'", "assert f({(1, 2): {frozenset([3])}, None: b'\\xff'}) == {(1, 2): {frozenset([3])}, None: b'\\xff'}", "assert f(10 ** 500) == 10 ** 500", "assert f(float('inf')) == float('inf')", "assert f(1.1 + 2.2) == 3.3000000000000003", "assert f(True) is True", "assert f(2 + 3j) == 2 + 3j", "assert f(range(3)) == range(3)", "assert f(int) is int"]
def f(x):
    return x
