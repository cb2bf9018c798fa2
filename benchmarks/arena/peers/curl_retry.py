"""`curl --retry`, a process per call, as scripts use it."""
import subprocess

from bench import Bench

VERSION = subprocess.run(["curl", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]

bench = Bench("curl", {"curl": VERSION}, "curl --fail --retry 10; a process per call")


def call():
    timeout = ["--max-time", str(bench.timeout)] if bench.timeout else []
    command = ["curl", "--silent", "--fail", "--retry", "10", "--output", "/dev/null", *timeout, bench.url]
    return subprocess.run(command, check=False).returncode == 0


bench.run_threads(lambda: call)
