#!/usr/bin/env python3
"""clang-tidy over many sources, which remembers what it has seen.

    tidy.py COMPILE_COMMANDS.json CACHE_DIR SOURCE...

A source is read again when anything changed that its answer depends on: clang-tidy, the
.clang-tidy file, its compile command, or the contents of any file that it includes, the
system's too. (As with ccache's direct mode, a new file that would now be found earlier on
the include path goes unnoticed.) One file in CACHE_DIR per source, overwritten.

It first proves that it bites, on a source with planted faults. Exits with 1 if there are
findings, which go to stdout; progress goes to stderr.
"""
import concurrent.futures
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = os.path.join(ROOT, ".clang-tidy")
# Ours are found by way of `-iquote .`; all others have a full path.
HEADERS = "^(%s/|[^/])" % re.escape(ROOT)

PLANTED = """\
#include <string>
#include <utility>
#include "absl/synchronization/mutex.h"
struct Counter {
  absl::Mutex mutex;
  int value ABSL_GUARDED_BY(mutex) = 0;
};
int Unlocked(Counter* counter) { return counter->value; }
size_t Moved(std::string text) {
  std::string other = std::move(text);
  return text.size() + other.size();
}
int Divided(int n) {
  if (n == 0) return 1 / n;
  return 1;
}
"""
MUST_BE_FOUND = ["clang-diagnostic-thread-safety", "bugprone-use-after-move", "clang-analyzer-core.DivideZero"]


@functools.lru_cache(maxsize=None)
def hash_of(path):
    try:
        with open(os.path.join(ROOT, path), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()
    except OSError:
        return ""


def run(args):
    return subprocess.run(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=False)


def dependencies(arguments):
    """What a source includes, from g++; None if that failed."""
    done = run(arguments + ["-M"])
    if done.returncode != 0:
        return None
    return sorted(set(done.stdout.replace("\\\n", " ").split(":", 1)[1].split()))


def borrowed(source, entries):
    """The command of the source that is nearest, for one that Bazel does not compile here."""
    nearest = max(sorted(entries), key=lambda path: len(os.path.commonprefix([path, source])))
    return [source if argument == nearest else argument for argument in entries[nearest]]


class Tidy:

    def __init__(self, database, cache):
        self.cache = cache
        os.makedirs(cache, exist_ok=True)
        with open(database, encoding="utf-8") as f:
            self.commands = {entry["file"]: entry["arguments"] for entry in json.load(f)}
        self.version = run(["clang-tidy-14", "--version"]).stdout + hash_of(CONFIG) + HEADERS

    def look(self, source):
        """(what clang-tidy says about a source, seconds or None if it was remembered)"""
        arguments = self.commands.get(source) or borrowed(source, self.commands)
        key = hashlib.sha256("\0".join([self.version, *arguments]).encode()).hexdigest()
        place = os.path.join(self.cache, hashlib.sha256(os.path.join(ROOT, source).encode()).hexdigest() + ".json")
        try:
            with open(place, encoding="utf-8") as f:
                seen = json.load(f)
            if seen["key"] == key and all(hash_of(path) == value for path, value in seen["includes"].items()):
                return seen["output"], None
        except (OSError, ValueError, KeyError):
            pass
        start = time.time()
        # Before clang-tidy reads them: a file that changes meanwhile is looked at again.
        includes = {path: hash_of(path) for path in dependencies(arguments) or []}
        done = run(["clang-tidy-14", "--quiet", "--config-file=" + CONFIG, "--header-filter=" + HEADERS, source, "--"] +
                   arguments[1:])
        output = done.stdout
        if done.returncode != 0 and not findings(output):
            output += "%s:1:1: error: clang-tidy failed: %s\n" % (source, (output + done.stderr).strip()[-2000:])
        if includes:
            with open(place + ".new", "w", encoding="utf-8") as f:
                json.dump({"key": key, "includes": includes, "output": output}, f)
            os.replace(place + ".new", place)
        return output, time.time() - start


def findings(output):
    """The parts of the output that begin with a finding; its notes belong to it.

    The analyzer follows calls into the system's inline functions; what it thinks of those is
    not ours to mend.
    """
    found = []
    for line in output.splitlines():
        line = line.replace(ROOT + "/", "").replace("./", "", 1) if line.startswith(("./", ROOT)) else line
        if re.match(r"\S+:\d+:\d+: (warning|error): ", line):
            found.append([line])
        elif found:
            found[-1].append(line)
    return ["\n".join(lines) for lines in found if not lines[0].startswith("/")]


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    tidy = Tidy(sys.argv[1], sys.argv[2])
    sources = sys.argv[3:]

    planted = os.path.join(os.path.abspath(sys.argv[2]), "planted.cc")
    with open(planted, "w", encoding="utf-8") as f:
        f.write(PLANTED)
    output, _ = tidy.look(planted)
    wrong = ["clang-tidy is blind: planted and not found: " + name for name in MUST_BE_FOUND if name not in output]

    seen, looked = set(), 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = {pool.submit(tidy.look, source): source for source in sources}
        for number, done in enumerate(concurrent.futures.as_completed(waiting), 1):
            output, seconds = done.result()
            for finding in findings(output):
                # A header's are seen through every source that includes it.
                first_line = finding.split("\n")[0]
                if first_line not in seen:
                    print(finding, flush=True)
                seen.add(first_line)
            if seconds is not None:
                looked += 1
                print("[%d/%d] %s %.0f s" % (number, len(sources), waiting[done], seconds), file=sys.stderr, flush=True)
    print("\n".join(wrong + ["clang-tidy: %d sources, %d of them looked at again, %d findings" %
                             (len(sources), looked, len(seen))]))
    sys.exit(bool(seen or wrong))


main()
