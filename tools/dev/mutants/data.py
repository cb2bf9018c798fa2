"""What is planted: tests/mutants/ROOM/NAME.txt, for the header ROOM/NAME.h and its .cc.

A file holds blocks, parted by empty lines; '#' begins a comment line. A block is a mutant:

    boundary: a success that started with the refusal opens it
    @ bool OnSuccess(
    - started <= shut_at_
    + started < shut_at_
    survives: equivalent, because …

`kind: what it means`. '-' is what stands there and '+' what stands there instead: both an
expression, or both statements (none after '+': the statement is gone). '@', which may be
missing, is where to look: the text that has '-' in it, or after which the block of braces
begins that has it. Spaces and ends of lines do not matter, so a formatter may come and
go; anything else that changes makes the mutant stale, which is a failure and not a
reason to leave it out. `survives` lists a mutant that no test can kill, or none should.

A header without logic has one line instead:

    no logic: a struct
"""
import collections
import os

ROOMS = ("core", "signals")
# Others may stand there too; these are the ones that every header should think of.
LEAST = 4

# Rooms of which only those headers are planted that somebody wrote mutants for: their tests
# talk to real servers, and take seconds. Those that are let loose: small ones, and no more.
LISTED = {
    "curl_wrap": ("bodies_test", "cancel_test", "classifier_test", "classify_test", "easy_options_test", "handle_test",
                  "http_transport_test", "idempotency_test", "life_pool_test", "option_table_test", "parsed_url_test",
                  "record_test", "redirect_test", "sharing_test", "tunnel_test", "waits_test"),
    "interceptors": ("breaker_test", "classifier_test", "classify_test", "context_test", "gate_test", "hedge_test",
                     "kept_bytes_test", "known_methods_test", "lifetime_test", "limits_test", "own_limits_test",
                     "proxy_answer_test", "rpc_options_test", "server_call_test", "service_config_channel_test",
                     "service_config_test", "shapes_test", "stream_lifetime_test", "stream_observe_test",
                     "stream_test", "targets_test", "unary_test"),
}

Mutant = collections.namedtuple("Mutant", "key header kind what at original mutated survives")


class Fault(Exception):
    """Something in the data files that cannot be used, with its place."""


def read_file(path, header):
    """([Mutant], reason for having no logic or None)."""
    mutants, no_logic = [], None
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    block, start = [], 0
    for number, line in enumerate(lines + [""], 1):
        if line.startswith("#"):
            continue
        if line.strip():
            start = start if block else number
            block.append(line)
            continue
        if not block:
            continue
        if block[0].startswith("no logic: "):
            no_logic = block[0].partition(": ")[2]
        else:
            key = "%s:%d" % (header[:-len(".h")], len(mutants) + 1)
            mutants.append(read_block(block, "%s:%d" % (path, start), key, header))
        block = []
    return mutants, no_logic


def read_block(block, place, key, header):
    kind, colon, what = block[0].partition(": ")
    if not colon or not what:
        raise Fault("%s: a mutant begins with `kind: what it means`" % place)
    parts = {"@": [], "-": [], "+": []}
    survives = None
    for line in block[1:]:
        mark, text = line[:1], line[1:].strip()
        if line.startswith("survives: "):
            survives = line.partition(": ")[2]
        elif mark in parts:
            parts[mark].append(text)
        elif survives and line.startswith("  "):
            survives += " " + line.strip()
        else:
            raise Fault("%s: not understood: %s" % (place, line))
    if not parts["-"] or not parts["+"]:
        raise Fault("%s: a mutant has lines with '-' and with '+'" % place)
    text = {mark: "\n".join(lines).strip() for mark, lines in parts.items()}
    return Mutant(key, header, kind, what, text["@"], text["-"], text["+"], survives)


def room_of(path):
    """The room of a header, a source or a test's label."""
    return (path[len("tests/"):] if path.startswith("tests/") else path).replace(":", "/").split("/")[0]


def group_of(path):
    """The rooms whose mutants and tests belong together, by one of their files or labels."""
    room = room_of(path)
    return (room,) if room in LISTED else ROOMS


def targets_of(groups):
    """What Bazel is to look for tests in."""
    found = []
    for group in sorted(groups):
        for room in group:
            found += ["//tests/%s:%s" % (room, name) for name in LISTED.get(room, ())] or ["//tests/%s/..." % room]
    return found


def read_all(root):
    """([Mutant], [fault]) of all rooms."""
    mutants, faults = [], []
    for room in ROOMS + tuple(sorted(LISTED)):
        folder = os.path.join(root, "tests", "mutants", room)
        headers = sorted(name for name in os.listdir(os.path.join(root, room)) if name.endswith(".h"))
        names = os.listdir(folder) if os.path.isdir(folder) else []
        for name in sorted(names):
            if name[:-len(".txt")] + ".h" not in headers:
                faults.append("tests/mutants/%s/%s: there is no header of that name" % (room, name))
        for name in headers:
            header = "%s/%s" % (room, name)
            path = os.path.join(folder, name[:-len(".h")] + ".txt")
            if not os.path.exists(path):
                if room in LISTED:
                    continue
                faults.append("%s: no mutants (%s)" % (header, os.path.relpath(path, root)))
                continue
            found, no_logic = read_file(path, header)
            mutants += found
            if no_logic is None and len(found) < LEAST and room not in LISTED:
                faults.append("%s: %d mutants, %d are the least" % (header, len(found), LEAST))
    return mutants, faults
