#!/usr/bin/env python3
"""The two programs of @remote_coverage_tools, without Java and in one.

`bazel coverage` runs it once per test (--coverage_dir: what gcov or llvm-cov
left) and once at the end (--reports_file: the lcov files to add up). Both write
one lcov file. gcov's JSON needs gcc >= 9.
"""
import argparse
import collections
import gzip
import json
import os
import re

# Per source file: a key (line; line and name; line, block and branch) -> count.
lines = collections.defaultdict(collections.Counter)
functions = collections.defaultdict(collections.Counter)
branches = collections.defaultdict(collections.Counter)


def read_gcov(path, keep):
    with gzip.open(path, "rt") as f:
        entries = json.load(f)["files"]
    for entry in entries:
        name = entry["file"]
        if not keep(name):
            continue
        for line in entry["lines"]:
            lines[name][line["line_number"]] += line["count"]
            for i, branch in enumerate(line.get("branches", [])):
                branches[name][line["line_number"], 0, i] += branch["count"]
        for function in entry["functions"]:
            functions[name][function["start_line"], function["name"]] += function["execution_count"]


def read_lcov(path, keep):
    name, start = None, {}
    with open(path) as f:
        for line in f:
            key, _, value = line.strip().partition(":")
            if key == "SF":
                name, start = (value if keep(value) else None), {}
            elif name and key == "DA":
                number, count = value.split(",")[:2]
                lines[name][int(number)] += int(count)
            elif name and key == "FN":
                number, function = value.split(",", 1)
                start[function] = int(number)
            elif name and key == "FNDA":
                count, function = value.split(",", 1)
                functions[name][start.get(function, 0), function] += int(count)
            elif name and key == "BRDA":
                number, block, branch, count = value.split(",")
                branches[name][int(number), int(block), int(branch)] += 0 if count == "-" else int(count)


def write(out):
    for name in sorted(lines):
        print("SF:" + name, file=out)
        for start, function in sorted(functions[name]):
            print("FN:%d,%s" % (start, function), file=out)
        for (_, function), count in sorted(functions[name].items()):
            print("FNDA:%d,%s" % (count, function), file=out)
        for (line, block, branch), count in sorted(branches[name].items()):
            print("BRDA:%d,%d,%d,%d" % (line, block, branch, count), file=out)
        for line, count in sorted(lines[name].items()):
            print("DA:%d,%d" % (line, count), file=out)
        hit = sum(count > 0 for count in lines[name].values())
        print("LF:%d\nLH:%d\nend_of_record" % (len(lines[name]), hit), file=out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--coverage_dir")
    parser.add_argument("--reports_file")
    parser.add_argument("--output_file", required=True)
    parser.add_argument("--filter_sources", action="append", default=[])
    parser.add_argument("--source_file_manifest")
    args, _ = parser.parse_known_args()

    wanted = None
    if args.source_file_manifest:
        with open(args.source_file_manifest) as f:
            wanted = set(f.read().split())

    def keep(name):
        return (wanted is None or name in wanted) and not any(re.fullmatch(r, name) for r in args.filter_sources)

    if args.reports_file:
        with open(args.reports_file) as f:
            for report in filter(os.path.exists, f.read().split()):
                read_lcov(report, keep)
    for folder, _, names in os.walk(args.coverage_dir) if args.coverage_dir else []:
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".gcov.json.gz"):
                read_gcov(path, keep)
            elif name.endswith(".dat"):
                read_lcov(path, keep)
    with open(args.output_file, "w") as out:
        write(out)


main()
