"""Runs lanes: one client against one provider of its own, on this machine's loopback.

A lane is bounded: the provider ends by itself, the client is stopped at its limit, and both are
ended by their ids.
"""
import collections
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

import analysis

HERE = os.path.dirname(os.path.abspath(__file__))
RPC = "/forbear.testing.Echo/Say"

# Names as in the tables; the files are in peers/.
HTTP_PEERS = {
    "plain-loop": "plain_loop.py",
    "urllib3": "urllib3_retry.py",
    "tenacity": "tenacity_backoff.py",
    "async-loop": "async_loop.py",
    "botocore-standard": "botocore_standard.py",
    "botocore-adaptive": "botocore_adaptive.py",
    "curl": "curl_retry.py",
    "stainless-rule": "stainless_rule.py",
    "full-jitter": "full_jitter.py",
}
GRPC_PEERS = {
    "grpc-policy": "grpc_policy.py",
    "grpc-throttled": "grpc_throttled.py",
}
# They are in every crowd: what knows everything, and what is measured.
OWN = ("oracle", "forbear")


class Lane:
    def __init__(self, scenario, protocol, peer, run=1):
        self.scenario, self.protocol, self.peer, self.run = scenario, protocol, peer, run

    @property
    def name(self):
        return "%s-%s-%s-%d" % (self.scenario["name"], self.protocol, self.peer, self.run)

    @property
    def limit(self):
        """Seconds after which the client begins no call."""
        return min(120.0, 30 + 4 * self.scenario["ideal_s"])


def describe(peer):
    """(description, None) of a peer that can be run here, else (None, why not)."""
    script = HTTP_PEERS.get(peer) or GRPC_PEERS[peer]
    done = subprocess.run(
        [sys.executable, "-B", os.path.join(HERE, "peers", script), "--describe"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False)
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or ["it ended with %d" % done.returncode])[-1]
    return json.loads(done.stdout), None


class Runner:
    def __init__(self, provider, oracle, forbear, simulate, out):
        self._provider, self._oracle, self._forbear, self._out = provider, oracle, forbear, out
        self._simulate = simulate

    def scenarios(self):
        return json.loads(subprocess.run([self._provider, "--list"], capture_output=True, check=True).stdout)

    def simulated(self, names):
        """What the simulator says of these scenarios: [{scenario, protocol, wasted, x_ideal, …}]."""
        command = [self._simulate, "--json", "--runs", "50"] + [x for name in names for x in ("--scenario", name)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=300)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _commands(self, lane, where, folder):
        """[(command, the file that it writes)], one for each process."""
        scenario, commands = lane.scenario, []
        processes = 1 if lane.peer == "oracle" else scenario["processes"]
        timeout = scenario["attempt_timeout_s"]
        for k in range(processes):
            out = os.path.join(folder, "calls-%d.json" % k)
            target = ["--url", where["url"]] if lane.protocol == "http" else ["--grpc", where["grpc"]]
            workers, calls = scenario["workers"] // processes, scenario["calls"] // processes
            if lane.peer == "oracle":
                command = [
                    self._oracle, "--scenario", scenario["name"], "--begin-ns", "%d" % where["begin_ns"], "--limit",
                    "%d" % lane.limit, "--out", out
                ]
            elif lane.peer == "forbear":
                command = [self._forbear, "load", "--requests", str(calls), "--workers", str(workers), "--records", out]
                if lane.protocol == "grpc":
                    command += ["--rpc", RPC, "--idempotent"]
                if timeout:
                    command += ["--attempt-timeout", "%gs" % timeout]
            else:
                script = HTTP_PEERS.get(lane.peer) or GRPC_PEERS[lane.peer]
                command = [
                    sys.executable, "-B", os.path.join(HERE, "peers", script), "--workers", str(workers), "--calls",
                    str(calls), "--limit", str(lane.limit), "--out", out
                ]
                if timeout:
                    command += ["--attempt-timeout", str(timeout)]
            commands.append((command + target, out))
        return commands

    def run(self, lane):
        """The lane as the results have it. Raises RuntimeError if it could not be run."""
        folder = os.path.join(self._out, "lanes", lane.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        door = os.path.join(folder, "door.jsonl")
        load = [os.getloadavg()[0]]
        command = [
            self._provider, "--scenario", lane.scenario["name"], "--log", door, "--max-seconds",
            "%d" % (lane.limit + 60)
        ]
        if lane.peer == "oracle":
            # What it knows before its first send, beside all else.
            command += ["--begin-in-ms", "1500"]
        with open(os.path.join(folder, "stderr"), "w", encoding="utf-8") as errors:
            provider = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
            clients = []
            try:
                where = _ready(provider)
                commands = self._commands(lane, where, folder)
                clients = [
                    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) for command, _ in commands
                ]
                cut = _wait(clients, time.monotonic() + lane.limit + 20)
                clients = []
            finally:
                for client in clients:
                    client.kill()
                provider.send_signal(signal.SIGTERM)
                try:
                    provider.wait(30)
                except subprocess.TimeoutExpired:
                    provider.kill()
                    provider.wait()
                provider.stdout.close()
        load.append(os.getloadavg()[0])
        run, arrivals = analysis.read_door(door)
        if run["sends"] != len(arrivals):
            raise RuntimeError("of %d sends only %d are in the door log" % (run["sends"], len(arrivals)))
        calls = [call for _, out in commands for call in _calls(lane.peer, out)]
        figures = analysis.measure(lane.scenario, arrivals, calls)
        return {
            "scenario": lane.scenario["name"],
            "protocol": lane.protocol,
            "peer": lane.peer,
            "run": lane.run,
            "figures": figures,
            "stopped_at_limit": cut,
            "machine_late_ms": run["late_ms"],
            "load": [round(x, 1) for x in load],
            "bins": {
                kind: analysis.bins(a.time for a in arrivals if a.kind == kind)
                for kind in ("ok", "refused", "failed")
            },
        }


def _ready(provider):
    """Where it listens, when it does."""
    if not select.select([provider.stdout], [], [], 30)[0]:
        raise RuntimeError("the provider did not start within 30 s")
    line = provider.stdout.readline()
    if not line:
        raise RuntimeError("the provider did not start")
    ports = json.loads(line)
    return {
        "url": "http://127.0.0.1:%d/" % ports["http"],
        "grpc": "127.0.0.1:%d" % ports["grpc"],
        "begin_ns": ports["begin_ns"],
    }


def _wait(clients, until):
    """Whether one of them had to be stopped."""
    cut = False
    for client in clients:
        try:
            client.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            cut = True
            client.kill()
            client.wait()
    return cut


def _calls(peer, path):
    """[(begin, end, ok)] in seconds, of what the client wrote down. A client that was killed may
    have written nothing."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        if peer != "forbear":
            return [(begin / 1e9, end / 1e9, ok) for begin, end, ok in json.load(file)["calls"]]
        calls = []
        for line in file:
            if line.endswith("}\n"):
                record = json.loads(line)
                begin = _seconds(record.get("begin"))
                calls.append((begin, begin + _seconds(record.get("end")), record.get("stop_reason") == "SUCCESS"))
        return calls


def _seconds(text):
    """protobuf's JSON of a duration: "1.030s"."""
    return float(text[:-1]) if text else 0.0


def run_all(runner, lanes, at_once, begin_until, done):
    """Runs lanes, at most `at_once` at a time, begun in their order, none after `begin_until` (of
    time.monotonic). done(lane, result or None, why not or None) is called for each, one at a time."""
    lock = threading.Lock()
    waiting = collections.deque(lanes)

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                lane = waiting.popleft()
                if time.monotonic() >= begin_until:
                    done(lane, None, "the time was over")
                    continue
            try:
                result, error = runner.run(lane), None
            except (OSError, RuntimeError, ValueError, KeyError, StopIteration) as failure:
                result, error = None, "%s: %s" % (type(failure).__name__, failure)
            with lock:
                done(lane, result, error)

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        # Those that run have got it as well, and end.
        with lock:
            waiting.clear()
        raise
