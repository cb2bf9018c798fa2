#!/usr/bin/env python3
"""Line coverage per folder, out of Bazel's combined report.

    coverage.py REPORT.dat LEAST FOLDER...

The report only knows what some test has linked. What it does not name counts too, as
uncovered: g++ is asked which lines of each header, with its inline functions, and of each
missing source are code. (Templates that nobody instantiates have none, for g++.)

Exits with 1 if a folder has less than LEAST percent.
"""
import collections
import glob
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sources(folder, ends):
    found = []
    for path, _, names in os.walk(os.path.join(ROOT, folder)):
        found += [os.path.relpath(os.path.join(path, name), ROOT) for name in names if name.endswith(ends)]
    return sorted(found)


def read_report(path):
    """{file: {line: count}}"""
    lines, name = collections.defaultdict(dict), None
    with open(path, encoding="utf-8") as f:
        for line in f:
            key, _, value = line.strip().partition(":")
            if key == "SF":
                name = value
            elif key == "DA":
                number, count = value.split(",")[:2]
                lines[name][int(number)] = lines[name].get(int(number), 0) + int(count)
    return lines


def lines_of_code(paths):
    """{file: lines that are code}, of sources and headers that are compiled together as they are."""
    with tempfile.TemporaryDirectory() as folder:
        unit = os.path.join(folder, "all.cc")
        with open(unit, "w", encoding="utf-8") as f:
            f.write("".join('#include "%s"\n' % path for path in paths))
        subprocess.run(["g++", "-std=c++17", "-O0", "-w", "--coverage", "-fkeep-inline-functions", "-iquote", ROOT,
                        "-c", unit, "-o", os.path.join(folder, "all.o")], check=True)
        notes = glob.glob(os.path.join(folder, "*.gcno"))
        # It complains that nothing was run, which is so.
        said = subprocess.run(["gcov", "--json-format", "--stdout"] + notes, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=True, cwd=folder)
        found = collections.defaultdict(set)
        for entry in json.loads(said.stdout)["files"]:
            path = os.path.relpath(os.path.join(folder, entry["file"]), ROOT)
            found[path] |= {line["line_number"] for line in entry["lines"]}
        return found


def ranges(numbers):
    """[1, 2, 3, 7] as "1-3 7"."""
    parts = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in parts)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    report, least, folders = read_report(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]

    headers = [path for folder in folders for path in sources(folder, ".h")]
    missing = [path for folder in folders for path in sources(folder, ".cc") if path not in report]
    code = lines_of_code(headers)
    for path in missing:
        code[path] = lines_of_code([path])[path]
    for path in headers + missing:
        for number in code[path]:
            report[path].setdefault(number, 0)

    low = []
    print("%-40s %8s %8s %8s   %s" % ("", "lines", "covered", "%", "uncovered"))
    for folder in folders:
        total = covered = 0
        rows = []
        for path in sources(folder, (".h", ".cc")):
            counts = report.get(path, {})
            hit = sum(count > 0 for count in counts.values())
            total, covered = total + len(counts), covered + hit
            if hit < len(counts):
                rows.append("  %-38s %8d %8d %8.1f   %s%s" % (
                    path, len(counts), hit, 100 * hit / len(counts),
                    ranges(number for number, count in counts.items() if count == 0),
                    " (no test links it)" if path in missing else ""))
        percent = 100 * covered / total if total else 0
        print("%-40s %8d %8d %8.1f" % (folder + "/", total, covered, percent))
        print("".join(row + "\n" for row in rows), end="")
        if percent < least:
            low.append("%s/ has %.1f %%, less than %g %%" % (folder, percent, least))
    print("".join(line + "\n" for line in low), end="")
    sys.exit(bool(low))


main()
