"""The loop that everybody has written: try, and if that did not work, sleep a second."""
import time

import requests

from bench import Bench

ATTEMPTS = 10

bench = Bench("plain-loop", {"requests": requests.__version__}, "10 attempts, sleep(1) between them; a session per worker")


def make():
    session = requests.Session()

    def call():
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(1)
            try:
                if session.get(bench.url, timeout=bench.timeout).ok:
                    return True
            except requests.RequestException:
                pass
        return False

    return call


bench.run_threads(make)
