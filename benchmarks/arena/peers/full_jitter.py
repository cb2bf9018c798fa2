"""Plain full-jitter backoff: what the robustness table compares with. It listens to nothing."""
import random
import time

import requests

from bench import Bench

BASE, CAP, PATIENCE = 0.1, 10.0, 60.0

bench = Bench("full-jitter", {"requests": requests.__version__},
              "sleep(U(0, min(10, 0.1 * 2**n))) between attempts, for up to 60 s; a session per worker")


def make():
    session = requests.Session()

    def call():
        end = time.monotonic() + PATIENCE
        n = 0
        while True:
            try:
                if session.get(bench.url, timeout=bench.timeout).ok:
                    return True
            except requests.RequestException:
                pass
            wait = random.uniform(0, min(CAP, BASE * 2**n))
            if time.monotonic() + wait > end:
                return False
            time.sleep(wait)
            n = min(n + 1, 20)

    return call


bench.run_threads(make)
