#!/usr/bin/env python3
"""Mutants: is there a test for each thing that core/ and signals/ decide, curl_wrap/ replaces and interceptors/ do?

    main.py list  [--file F] [--id K]          what would be planted
    main.py tests [--file F] [--id K]          where Bazel is to look for the tests that are needed
    main.py plant SCRATCH                      copies the tree, all mutants planted in it
    main.py run   SCRATCH BIN [--file F] [--id K] LABEL...
                                               lets the tests of the build loose on each of them

`./dev mutants` calls them in this order, with a build between the last two. The data is
in tests/mutants (data.py says how it is written), how it is planted in plant.py.

Exits with 1 if a mutant survives that is not listed as a survivor, is stale, or does not
exist though it should (four for each header with logic), and if the two that are planted
to see whether anything is seen, one to live and one to die, do not.
"""
import argparse
import collections
import os
import shutil
import subprocess
import sys
import time

import data
import plant
import run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

# Whoever finds nothing may be blind: these two are always there, and so is the test that
# sees the second.
CONTROL_TEST = "//tests/signals:grpc_pushback_test"
CONTROL = (
    data.Mutant("control:lives", "signals/grpc_pushback.h", "control", "the same in other words", "ParseGrpcPushback(",
                "value.empty()", "value.size() == 0", None),
    data.Mutant("control:dies", "signals/grpc_pushback.h", "control", "ten seconds more", "ParseGrpcPushback(",
                "absl::Milliseconds(ms)", "absl::Milliseconds(ms + 10000)", None),
)


def sources_of(header):
    return [path for path in (header, header[:-len(".h")] + ".cc") if os.path.exists(os.path.join(ROOT, path))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def rewrite_all(mutants):
    """({path: text}, {number: why it is stale}): numbers count from 1 in the order of `mutants`."""
    texts, stale, planted = {}, {}, collections.defaultdict(list)
    tokens = {}
    for number, mutant in enumerate(mutants, 1):
        reasons, places = [], []
        for path in sources_of(mutant.header):
            if path not in tokens:
                tokens[path] = plant.tokens_of(read(path))
            try:
                plant.find(tokens[path], mutant.at, mutant.original)
                places.append(path)
            except plant.Stale as e:
                reasons.append("%s: %s" % (path, e))
        if len(places) == 1:
            planted[places[0]].append((number, mutant))
        else:
            stale[number] = "; ".join(reasons) if not places else "in each of " + " ".join(places)
    for path, some in planted.items():
        texts[path], why = plant.rewrite(read(path), some)
        stale.update({number: "%s: %s" % (path, text) for number, text in why.items()})
    return texts, stale


def self_check():
    """What plant.py must refuse and do, in small."""
    code = "int F(int a, int b) { if (a < b + 1) return a; G(); return a - b; }"

    def one(original, mutated, at="", text=code):
        mutant = data.Mutant("check:1", "core/x.h", "control", "", at, original, mutated, None)
        out, stale = plant.rewrite(text, [(7, mutant)])
        return stale.get(7, out.partition("#endif\n")[2])

    def expect(have, want):
        if want not in have:
            sys.exit("./dev mutants does not plant as it should: `%s` is not in `%s`" % (want, have))

    expect(one("a < b + 1", "a <= b + 1"), "if ((FORBEAR_MUTANT(7) ? (a <= b + 1) : (a < b + 1))) return a;")
    expect(one("G();", ""), "{ if (FORBEAR_MUTANT(7)) {  } else { G(); } } return")
    expect(one("a <= b + 1", "a"), "not there")
    expect(one("a", "b"), "there 4 times")
    expect(one("a", "b", "a - b"), "(FORBEAR_MUTANT(7) ? (b) : (a)) - b")
    expect(one("a < b", "b", "F(int a, int b)"), "no whole expression")
    expect(one("a - b", "b", "G(int"), "not there")
    expect(one("return a;", "", text="if (x) return a; else b();"), "no whole statement")
    expect(one("G()", "H();"), "a statement for an expression")
    expect(one("1 + 2", "3", text="struct S { static constexpr int k = 1 + 2; };"),
           "static inline const int k = (FORBEAR_MUTANT(7) ? (3) : (1 + 2));")


def chosen(mutants, options):
    """[(number, mutant)] of those that are asked for."""
    def wanted(mutant):
        if mutant.kind == "control":
            return True
        if options.id is not None and mutant.key != options.id:
            return False
        return options.file is None or any(path in sources_of(mutant.header) for path in options.file)

    found = [(number, mutant) for number, mutant in enumerate(mutants, 1) if wanted(mutant)]
    if not any(mutant.kind != "control" for _, mutant in found):
        sys.exit("./dev mutants: there is no such mutant; ./dev mutants --list shows them")
    return found


def one_line(text):
    return " ".join(text.split()) or "(nothing)"


def show_list(mutants, _, options):
    for _, m in chosen(mutants, options):
        if m.kind != "control":
            print("%-28s %s: %s\n%28s - %s\n%28s + %s" % (m.key, m.kind, m.what, "", one_line(m.original), "",
                                                        one_line(m.mutated)))


def show_tests(mutants, options):
    groups = {data.group_of(m.header) for _, m in chosen(mutants, options) if m.kind != "control"}
    print(" ".join(sorted(set(data.targets_of(groups) + [CONTROL_TEST]))))


def make_scratch(mutants, scratch):
    """A copy of what git knows, and does not ignore, with the mutants in it. Files that stay as they are stay
    untouched, and what is no longer there goes."""
    texts, _ = rewrite_all(mutants)
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    paths = {path for path in listed if path and os.path.isfile(os.path.join(ROOT, path))}
    for folder, folders, names in os.walk(scratch):
        folders[:] = [f for f in folders if not os.path.islink(os.path.join(folder, f))]
        for name in names:
            full = os.path.join(folder, name)
            if os.path.relpath(full, scratch) not in paths:
                os.unlink(full)
    for path in sorted(paths):
        content = texts[path].encode() if path in texts else open(os.path.join(ROOT, path), "rb").read()
        full = os.path.join(scratch, path)
        if os.path.exists(full) and open(full, "rb").read() == content:
            continue
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(content)
        shutil.copymode(os.path.join(ROOT, path), full)


def progress_line(by_number, start):
    """Says now and then how far it is, and at once who is alive that should not be."""
    last = [time.monotonic()]
    total, told = len(by_number), set()

    def progress(results):
        for n, death in results.items():
            if death is None and by_number[n].survives is None and by_number[n].kind != "control" and n not in told:
                told.add(n)
                print("./dev mutants: %s is alive: %s" % (by_number[n].key, by_number[n].what), file=sys.stderr, flush=True)
        if time.monotonic() - last[0] < 20:
            return
        last[0] = time.monotonic()
        print("./dev mutants: %d of %d, %d alive, %d s" % (
            len(results), total, sum(death is None for death in results.values()), time.monotonic() - start),
            file=sys.stderr, flush=True)

    return progress


def hunt(mutants, faults, options):
    start = time.monotonic()
    _, stale = rewrite_all(mutants)
    some = [(number, mutant) for number, mutant in chosen(mutants, options) if number not in stale]
    by_number = dict(some)

    tests = run.Tests({label: os.path.join(options.bin, label.replace(":", "/")) for label in options.labels})
    bad = run.first_run(tests, options.jobs, options.scratch_logs)
    if bad:
        sys.exit("".join("./dev mutants: with no mutant alive: %s\n" % line for line in bad))
    print("./dev mutants: %d tests pass on the code as it is, in %d s; now %d mutants" % (
        len(tests.binaries), time.monotonic() - start, len(some)), file=sys.stderr, flush=True)

    # Survivors take longest.
    numbers = sorted(by_number, key=lambda n: (by_number[n].survives is None, n))
    deaths = run.each(options.jobs, numbers, lambda n: run.kill(tests, by_number[n].header, n),
                      progress_line(by_number, start))
    return report(mutants, faults, stale, deaths, tests, options, start)


def report(mutants, faults, stale, deaths, tests, options, start):
    shown = dict(chosen(mutants, options))
    alone = options.id is not None
    print("\n%-28s %7s %7s %9s   %s" % ("", "planted", "killed", "survivors", "killed by"))
    for header in sorted({m.header for m in mutants}):
        numbers = [n for n, m in shown.items() if m.header == header and m.kind != "control" and n in deaths]
        if not numbers:
            continue
        by = collections.Counter(deaths[n].test for n in numbers if deaths[n])
        print("%-28s %7d %7d %9d   %s" % (header, len(numbers), sum(by.values()), len(numbers) - sum(by.values()),
                                          ", ".join("%s %d" % pair for pair in by.most_common())))

    def lines(title, numbers, text):
        if numbers:
            print("\n%s:" % title)
        for n in numbers:
            m = mutants[n - 1]
            print("  %-24s %s: %s\n%27s- %s\n%27s+ %s" % (m.key, m.kind, m.what, "", one_line(m.original), "",
                                                       one_line(m.mutated)))
            if text(n, m):
                print("%27s%s" % ("", text(n, m)))

    ours = [n for n in sorted(deaths) if mutants[n - 1].kind != "control"]
    if alone:
        lines("killed", [n for n in ours if deaths[n]],
              lambda n, m: "%s: %s %s" % (deaths[n].test, deaths[n].what, deaths[n].how))
    lines("survivors that are listed", [n for n in ours if not deaths[n] and mutants[n - 1].survives],
          lambda n, m: m.survives)
    lines("listed as survivors, and killed: take them off the list",
          [n for n in ours if deaths[n] and mutants[n - 1].survives],
          lambda n, m: "%s: %s %s" % (deaths[n].test, deaths[n].what, deaths[n].how))
    unlisted = [n for n in ours if not deaths[n] and not mutants[n - 1].survives]
    lines("SURVIVORS: no test fails", unlisted,
          lambda n, m: "" if any(n in reached for reached in tests.reached.values()) else "no test comes by it")
    gone = [n for n in sorted(stale) if n in shown]
    lines("STALE: the code has moved on, the mutant has not", gone, lambda n, m: stale[n])
    faults = [] if alone or options.file else faults
    if faults:
        print("\nFAULTS:\n" + "\n".join("  " + fault for fault in faults))

    blind = []
    for n, m in shown.items():
        if m.kind == "control" and (n in stale or bool(deaths[n]) != (m.key == "control:dies")):
            blind.append(m.key)
            print("\nBLIND: %s, planted to see whether anything is seen, does not" % m.key)

    hung = sum(1 for n in ours if deaths[n] and deaths[n].how == run.HUNG)
    print("\n%d mutants: %d killed (%d of them by the time limit), %d listed survivors, %d survivors, %d stale; %d s" % (
        len(ours), sum(1 for n in ours if deaths[n]), hung,
        sum(1 for n in ours if not deaths[n] and mutants[n - 1].survives), len(unlisted), len(gone),
        time.monotonic() - start))
    return bool(unlisted or gone or faults or blind)


def main():
    parser = argparse.ArgumentParser(prog="./dev mutants")
    parser.add_argument("action", choices=("list", "tests", "plant", "run"))
    parser.add_argument("--scratch")
    parser.add_argument("--bin")
    parser.add_argument("--file", action="append")
    parser.add_argument("--id")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("labels", nargs="*")
    options = parser.parse_intermixed_args()

    self_check()
    try:
        mutants, faults = data.read_all(ROOT)
    except data.Fault as e:
        sys.exit("./dev mutants: %s" % e)
    mutants += CONTROL
    if options.action == "list":
        show_list(mutants, faults, options)
        return 0
    if options.action == "tests":
        show_tests(mutants, options)
        return 0
    if options.action == "plant":
        chosen(mutants, options)
        make_scratch(mutants, options.scratch)
        return 0
    options.scratch_logs = options.scratch + ".reached"
    shutil.rmtree(options.scratch_logs, ignore_errors=True)
    os.makedirs(options.scratch_logs)
    return hunt(mutants, faults, options)


if __name__ == "__main__":
    sys.exit(main())
