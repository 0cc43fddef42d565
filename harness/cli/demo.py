"""`harness demo`."""


def demo() -> None:
    """x"""
