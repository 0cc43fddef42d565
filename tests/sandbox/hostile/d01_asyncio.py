# attack: none: runs an event loop
# task: known
# expect: verdict=pass
# host must observe: -
import asyncio


async def g(x):
    await asyncio.sleep(0)
    return x + 1


def f(x):
    return asyncio.run(g(x))
