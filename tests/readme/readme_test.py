#!/usr/bin/env python3
"""README.md's code is code that is compiled and run elsewhere, to the letter.

A block that follows `<!-- from FILE: NAME -->` must stand in FILE between the lines
`README: NAME` and `README: end`, indentation aside; without a NAME, each of its lines
must stand in FILE. `./dev test` runs this in the root: examples/consumer is a workspace of
its own, which a test of this one cannot see.
"""

import re
import sys


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def faults(readme, read):
    found = []
    blocks = re.findall(r"<!-- from (\S+?)(?:: (\S+))? -->\n```\w+\n(.*?)```", readme, re.S)
    if len(blocks) < 4:
        found.append("only %d blocks of code in README.md say where they are from" % len(blocks))
    for path, name, block in blocks:
        text = read(path)
        if name:
            parts = re.findall(r"README: %s\n(.*?)\n[^\n]*README: end" % re.escape(name), text, re.S)
            if [lines(p) for p in parts] != [lines(block)]:
                found.append("README.md and %s differ in '%s'" % (path, name))
        else:
            found += ["%s has no line: %s" % (path, l) for l in lines(block) if l not in lines(text)]
    return found


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


readme = read("README.md")
bad = faults(readme, read)
# This check must be able to fail.
if not faults(readme.replace("curl.Perform()", "curl.Preform()"), read):
    bad.append("a changed README was not noticed: this check is blind")
print("\n".join(bad) or "README.md's code is the tested code")
sys.exit(bool(bad))
