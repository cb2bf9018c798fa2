"""requests with urllib3's Retry mounted, as its documentation shows. It obeys Retry-After."""
import requests
import requests.adapters
import urllib3

from bench import Bench

bench = Bench("urllib3", {
    "requests": requests.__version__,
    "urllib3": urllib3.__version__
}, "Retry(total=10, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504]); a session per worker")


def make():
    session = requests.Session()
    retry = urllib3.Retry(total=10, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
    return lambda: session.get(bench.url, timeout=bench.timeout).ok


bench.run_threads(make)
