"""What the arena's Python clients share: workers, one count of calls, a file of what became of them.

A peer says who it is and how it makes one call; see plain_loop.py for the shortest. It is run as

    /usr/bin/python3 PEER.py --url URL --workers W --calls N --limit SECONDS --out FILE
    /usr/bin/python3 PEER.py --describe        # one JSON object: versions and settings

W workers make N calls in all; each begins its next call when its last one has ended. The file has
{"peer", "calls": [[begin_ns, end_ns, ok], …]}, times of CLOCK_MONOTONIC. After --limit no call
begins, and three seconds later the process writes down what it has and ends: a call that has not
ended by then is not ok.
"""
import argparse
import asyncio
import json
import os
import threading
import time


class Bench:
    def __init__(self, peer, versions, settings):
        """versions: {package: version}. settings: what was chosen, in words."""
        parser = argparse.ArgumentParser(description=settings)
        parser.add_argument("--describe", action="store_true")
        parser.add_argument("--url")
        parser.add_argument("--grpc")
        parser.add_argument("--workers", type=int, default=1)
        parser.add_argument("--calls", type=int, default=1)
        parser.add_argument("--limit", type=float, default=120)
        parser.add_argument("--attempt-timeout", type=float)
        parser.add_argument("--out")
        args = parser.parse_args()
        if args.describe:
            print(json.dumps({"peer": peer, "versions": versions, "settings": settings}))
            raise SystemExit(0)
        self.peer = peer
        self.url, self.grpc, self.workers = args.url, args.grpc, args.workers
        self.timeout = args.attempt_timeout
        self._out = args.out
        self._lock = threading.Lock()
        self._calls = []
        self._left = args.calls
        self._stop_at = time.monotonic() + args.limit
        self._limit = args.limit

    def _take(self):
        with self._lock:
            if self._left == 0 or time.monotonic() >= self._stop_at:
                return None
            self._left -= 1
            call = [time.monotonic_ns(), None, False]
            self._calls.append(call)
            return call

    def _write(self):
        with self._lock:
            now = time.monotonic_ns()
            calls = [[begin, end or now, ok] for begin, end, ok in self._calls]
        with open(self._out + ".part", "w", encoding="utf-8") as file:
            json.dump({"peer": self.peer, "calls": calls}, file)
        os.replace(self._out + ".part", self._out)

    def _give_up(self):
        self._write()
        os._exit(1)

    def _watch(self):
        timer = threading.Timer(self._limit + 3, self._give_up)
        timer.daemon = True
        timer.start()

    def run_threads(self, make):
        """make() is called by each worker, and returns a function that makes one call: True if it
        was answered. What it raises is a call that was not."""
        self._watch()

        def work():
            one_call = make()
            while (call := self._take()) is not None:
                try:
                    call[2] = bool(one_call())
                except Exception:  # pylint: disable=broad-except # the library gave up
                    pass
                call[1] = time.monotonic_ns()

        threads = [threading.Thread(target=work) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._write()

    def run_async(self, session, one_call):
        """`async with session() as s`, shared by all; `await one_call(s)` makes one call."""
        self._watch()

        async def work(shared):
            while (call := self._take()) is not None:
                try:
                    call[2] = bool(await one_call(shared))
                except Exception:  # pylint: disable=broad-except
                    pass
                call[1] = time.monotonic_ns()

        async def main():
            async with session() as shared:
                await asyncio.gather(*(work(shared) for _ in range(self.workers)))

        asyncio.run(main())
        self._write()
