"""tenacity around requests, with the wait that vendors' cookbooks recommend."""
import importlib.metadata

import requests
import tenacity

from bench import Bench

bench = Bench("tenacity", {
    "requests": requests.__version__,
    "tenacity": importlib.metadata.version("tenacity")
}, "wait_random_exponential(min=1, max=60), stop_after_attempt(10); a session per worker")


def make():
    session = requests.Session()

    @tenacity.retry(wait=tenacity.wait_random_exponential(min=1, max=60), stop=tenacity.stop_after_attempt(10))
    def call():
        session.get(bench.url, timeout=bench.timeout).raise_for_status()
        return True

    return call


bench.run_threads(make)
