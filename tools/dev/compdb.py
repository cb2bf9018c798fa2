#!/usr/bin/env python3
"""compile_commands.json out of what Bazel says about its compilations.

    compdb.py AQUERY.json EXECUTION_ROOT OUTPUT

AQUERY.json is the output of bazel aquery --output=jsonproto 'mnemonic("CppCompile", //...)'.

The commands are those of g++; what clang's tools do not know is taken out of them, -Werror
too, because clang's -Wall is another one. They run in the workspace, so that sources have
the names that people and editors use; what Bazel generated or fetched is named in full.
"""
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Flags that clang has not got.
GCC_ONLY = {"-fno-canonical-system-headers", "-Wno-free-nonheap-object", "-Wunused-but-set-parameter"}
# Flags that name an output, with their values.
OUTPUTS = {"-MF": 1, "-o": 1, "-MD": 0}


def absolute(path, execution_root):
    output_base = os.path.dirname(os.path.dirname(execution_root))
    if path.startswith("bazel-out/"):
        return os.path.join(execution_root, path)
    if path.startswith("external/"):
        return os.path.join(output_base, path)
    return path


def command(arguments, execution_root):
    """The command without what clang does not know, and with paths that hold in the workspace."""
    kept, skip = [arguments[0]], 0
    for argument in arguments[1:]:
        if skip:
            skip -= 1
        elif argument in OUTPUTS:
            skip = OUTPUTS[argument]
        elif argument in GCC_ONLY or argument == "-Werror" or argument.startswith("-frandom-seed="):
            pass
        else:
            kept.append(absolute(argument, execution_root))
    return kept


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        actions = json.load(f).get("actions", [])
    execution_root = sys.argv[2]
    entries = {}
    for action in actions:
        arguments = action["arguments"]
        source = absolute(arguments[arguments.index("-c") + 1], execution_root)
        # Several: with and without -fPIC, and for tools that run during the build.
        entries.setdefault(source, {
            "directory": ROOT,
            "file": source,
            "arguments": command(arguments, execution_root),
        })
    temporary = sys.argv[3] + ".new"
    with open(temporary, "w", encoding="utf-8") as f:
        json.dump([entries[source] for source in sorted(entries)], f, indent=1)
    os.replace(temporary, sys.argv[3])
    print("%s: %d sources" % (sys.argv[3], len(entries)))


main()
