# attack: return lists, dicts and strings that say they equal everything
# task: secret
# expect: verdict=fail
# host must observe: -
def lie(base):
    return type(
        "L",
        (base,),
        {
            "__eq__": lambda a, b: True,
            "__ne__": lambda a, b: False,
            "__hash__": lambda a: 0,
        },
    )


made = iter([lie(list)(), lie(dict)(), lie(str)("x")])


def f(x):
    return next(made)
