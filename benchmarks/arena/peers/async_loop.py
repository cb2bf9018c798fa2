"""The asynchronous loop with exponential backoff as it is found in programs: 2**n + U(0, 1) seconds."""
import asyncio
import random

import aiohttp

from bench import Bench

ATTEMPTS = 7

bench = Bench("async-loop", {"aiohttp": aiohttp.__version__}, "7 attempts, sleep(2**n + U(0, 1)) between them; one session")


def session():
    timeout = aiohttp.ClientTimeout(total=bench.timeout)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))


async def call(http):
    for n in range(ATTEMPTS):
        if n:
            await asyncio.sleep(2**(n - 1) + random.random())
        try:
            async with http.get(bench.url) as response:
                await response.read()
                if response.status == 200:
                    return True
        except (aiohttp.ClientError, asyncio.TimeoutError):
            pass
    return False


bench.run_async(session, call)
