"""The rule by which the clients that Stainless generates (openai-python and others) wait, re-implemented.

What the server says, if that is more than 0 and at most 60 s: retry-after-ms, else Retry-After in
seconds or as a date. Otherwise 0.5 s doubled up to 8 s, less a random quarter.
"""
import email.utils
import random
import time

import httpx

from bench import Bench

ATTEMPTS = 11

bench = Bench("stainless-rule", {"httpx": httpx.__version__},
              "stainless rule, re-implemented; max_retries=10; one client for all workers")


def announced(headers):
    try:
        return float(headers.get("retry-after-ms")) / 1000
    except (TypeError, ValueError):
        pass
    text = headers.get("retry-after")
    try:
        return float(text)
    except (TypeError, ValueError):
        pass
    date = email.utils.parsedate_tz(text or "")
    return None if date is None else email.utils.mktime_tz(date) - time.time()


def delay(retry, headers):
    wait = announced(headers)
    if wait is not None and 0 < wait <= 60:
        return wait
    return min(0.5 * 2.0**retry, 8.0) * (1 - 0.25 * random.random())


client = httpx.Client(
    timeout=bench.timeout, limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100))


def call():
    for attempt in range(ATTEMPTS):
        headers = {}
        try:
            response = client.get(bench.url)
            if response.status_code < 400:
                return True
            if response.status_code not in (408, 409, 429) and response.status_code < 500:
                return False
            headers = response.headers
        except httpx.HTTPError:
            pass
        if attempt + 1 < ATTEMPTS:
            time.sleep(delay(attempt, headers))
    return False


bench.run_threads(lambda: call)
