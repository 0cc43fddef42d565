# attack: none: the function under test has a builtin's name
# task: known
# expect: verdict=pass
# host must observe: -
# tests: ["assert sum(2, 3) == 6"]
def sum(a, b):
    return a * b
