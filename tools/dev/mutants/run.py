"""Lets the tests loose on one mutant after the other."""
import collections
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

import data

# How a run ended. kPassed is what a survivor does.
PASSED, FAILED, CRASHED, HUNG = "passed", "failed", "crashed", "hung"

Death = collections.namedtuple("Death", "test how what")


class Tests:
    """The test programs: label → path, with what the first run, of the code as it is, has shown."""

    def __init__(self, binaries):
        self.binaries = binaries  # {"tests/core:gate_test": path}
        self.seconds = {}
        self.reached = {}  # label → numbers of the mutants that it comes by

    def limit(self, label):
        return 10 + 5 * self.seconds[label]

    def patience(self, label):
        """Seconds of the clock. Who talks to a server may wait for ever and need no processor."""
        return (20 if data.room_of(label) in data.LISTED else 120 + 29 * self.limit(label)) + self.limit(label)


def run_one(path, mutant, cpu_seconds, patience, reached=None):
    """(how it ended, the test that was running, seconds)."""
    # What a mutant does to memory and disk must not be our problem. Time is that of the processor: the
    # machine may have other work. An assertion that fails ends the program at once.
    command = ["prlimit", "--core=0", "--as=%d" % (4 << 30), "--fsize=%d" % (64 << 20), "--cpu=%d" % (cpu_seconds + 1),
               path, "--gtest_color=no", "--gtest_fail_fast", "--gtest_break_on_failure", "--gtest_catch_exceptions=0"]
    env = {"PATH": os.environ["PATH"], "FORBEAR_MUTANT": str(mutant)}
    if reached:
        env["FORBEAR_REACHED"] = reached
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        env["TEST_TMPDIR"] = folder
        # Where Bazel runs a test: those that read files of this repository find them there.
        runfiles = path + ".runfiles/forbear"
        where = runfiles if os.path.isdir(runfiles) else folder
        with subprocess.Popen(command, cwd=where, env=env, stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.STDOUT) as process:
            try:
                code = process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                process.kill()
                code = -signal.SIGXCPU
        seconds = time.monotonic() - start
        if code == 0:
            return PASSED, "", seconds
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - (1 << 16)))
        text = output.read().decode("utf-8", "replace")
    running = re.findall(r"^\[ RUN      \] (\S+)", text, re.MULTILINE)
    name = running[-1] if running else "before the first test"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return HUNG, name, seconds
    said = code > 0 or (code == -signal.SIGTRAP and re.search(r": Failure$", text, re.MULTILINE))
    return (FAILED if said else CRASHED), name, seconds


def each(jobs, items, work, progress):
    """work(item) for each item, `jobs` at a time; {item: result}."""
    results, todo, lock = {}, collections.deque(items), threading.Lock()
    errors = []

    def loop():
        while True:
            with lock:
                if not todo or errors:
                    return
                item = todo.popleft()
            try:
                result = work(item)
            except Exception as e:  # shown by the caller, in its own thread
                errors.append(e)
                return
            with lock:
                results[item] = result
                progress(results)

    threads = [threading.Thread(target=loop) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def first_run(tests, jobs, folder):
    """All tests with no mutant alive, once to see which mutants they come by. The labels that do not pass."""

    def work(label):
        log = os.path.join(folder, label.replace("/", "_").replace(":", "_"))
        how, name, seconds = run_one(tests.binaries[label], -1, 600, 3600, log)
        numbers = set()
        if os.path.exists(log):
            with open(log, encoding="ascii") as f:
                numbers = {int(line) for line in f}
        tests.seconds[label], tests.reached[label] = seconds, numbers
        return how, name

    results = each(jobs, sorted(tests.binaries), work, lambda _: None)
    return ["%s %s in %s" % (label, how, name) for label, (how, name) in sorted(results.items()) if how != PASSED]


def order(tests, header, number):
    """The tests that can see the mutant: the header's own, then the others, fast ones first."""
    room, name = header[:-len(".h")].split("/")
    own = "tests/%s:%s_" % (room, name)
    seen = [label for label in tests.binaries
            if number in tests.reached[label] and data.group_of(label) == data.group_of(header)]
    return sorted(seen, key=lambda label: (not label.startswith(own), tests.seconds[label], label))


def kill(tests, header, number):
    """The Death of the mutant; None if it lives."""
    for label in order(tests, header, number):
        how, name, _ = run_one(tests.binaries[label], number, tests.limit(label), tests.patience(label))
        if how != PASSED:
            return Death(label.partition(":")[2], how, name)
    return None
