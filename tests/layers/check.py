#!/usr/bin/env python3
"""Holds every source and every rule to the table in rooms.py.

    check.py includes          what each source includes
    check.py words             no clock, thread or chance in the pure rooms
    check.py rules QUERY.xml   what each rule depends on; QUERY.xml is the output of
                               bazel query --output=xml //...

Two looks at the same thing, because each is blind where the other sees: a system header
satisfies any #include whatever deps say, so a query cannot find the rule that lacks a
dep; and a rule may link what none of its sources includes.

Each check first proves that it still bites: with a fault planted into a copy of the tree
it must find that fault. It walks the tree, so nobody has to list a new file. `./dev test`
runs it directly: a test inside Bazel's sandbox sees only files that somebody listed.
"""
import collections
import functools
import os
import re
import sys
import xml.etree.ElementTree

import rooms

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = (".h", ".cc", ".inc")

# ---- the tree: a dict of path -> text


def load_tree():
    tree = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if not f.startswith((".", "bazel-"))]
        for name in names:
            if name.endswith(SOURCE) or name == "BUILD":
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as f:
                    tree[os.path.relpath(path, ROOT)] = f.read()
    return tree


_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\'',
    re.DOTALL)


def code(text, strings):
    """The text without comments, and without what is inside strings unless `strings`."""

    def blank(match):
        token = match.group()
        if token[0] == "/":
            return "\n" * token.count("\n") or " "
        return token if strings else '""' + "\n" * token.count("\n")

    return _TOKEN.sub(blank, text)


@functools.lru_cache(maxsize=None)
def includes(text):
    """[(line, header, "<" or '"')] of each #include."""
    found = []
    for number, line in enumerate(code(text, strings=True).split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            found.append((number, match[2], match[1]))
    return found


def sources(tree):
    return sorted(path for path in tree if path.endswith(SOURCE))


# ---- what belongs where


def room_of(path):
    return path.split("/", 1)[0] if "/" in path else ""


def party(header):
    """(what a header outside this repository belongs to, the labels that provide it)."""
    absl = re.fullmatch(r"absl/((\w+)/\w+)\.h", header)
    if absl:
        target = rooms.ABSL.get(absl[1]) or rooms.ABSL_FOLDERS.get(absl[2]) or absl[1].replace("/", ":")
        return "absl", ["@com_google_absl//absl/" + target]
    for pattern, name, labels in rooms.PARTIES:
        if re.fullmatch(pattern, header):
            return name, labels
    if header in rooms.PLAIN_STD:
        return "", []
    if header in rooms.IMPURE_STD:
        return "std", []
    if re.fullmatch(rooms.POSIX, header, re.VERBOSE):
        return "posix", []
    return None, []


def refusal(room, other, kind):
    """Why `room` may not use `other` (a room: kind 0, anything else: kind 1), or None."""
    if room not in rooms.ROOMS:
        return "the room %s/ is not in tests/layers/rooms.py" % room
    allowed = rooms.ROOMS[room][kind]
    if other in ("", room) or allowed == rooms.ALL or other in allowed.split():
        return None
    return "%s/ may not use %s" % (room, other + "/" if kind == 0 else other)


# ---- the checks: each gives the list of what is wrong


def check_includes(tree):
    wrong = []
    for path in sources(tree):
        for line, header, quote in includes(tree[path]):
            if room_of(header) in rooms.ROOMS and quote == '"':
                why = refusal(room_of(path), room_of(header), 0)
            else:
                name, _ = party(header)
                if name is None and quote == '"':
                    why = "name it from the root of the repository"
                elif name is None:
                    why = "tests/layers/rooms.py does not say what it belongs to"
                else:
                    why = refusal(room_of(path), name, 1)
            if why:
                wrong.append("%s:%d: %s: %s" % (path, line, header, why))
    return wrong


def check_words(tree):
    wrong = []
    banned = re.compile("|".join(rooms.BANNED))
    for path in sources(tree):
        if room_of(path) in rooms.PURE:
            for line, text in enumerate(code(tree[path], strings=False).split("\n"), 1):
                for match in banned.finditer(text):
                    wrong.append("%s:%d: %s: not in %s/" % (path, line, match.group(), room_of(path)))
    return wrong


# A rule as the query shows it. lists: attribute -> labels.
Rule = collections.namedtuple("Rule", "kind lists")


def load_rules(path):
    rules = {}
    for rule in xml.etree.ElementTree.parse(path).getroot().iter("rule"):
        lists = {"name": [rule.get("name")]}
        for attribute in rule.findall("list"):
            lists[attribute.get("name")] = [label.get("value") for label in attribute.iter("label")]
        for attribute in rule.findall("label"):
            lists[attribute.get("name")] = [attribute.get("value")]
        rules[rule.get("name")] = Rule(rule.get("class"), lists)
    return rules


def file_of(label):
    return label.lstrip("/").replace(":", "/").lstrip("/")


def check_rules(tree, rules):
    def files(labels):
        """The files behind labels, generated ones by the name they will have."""
        for label in labels:
            rule = rules.get(label)
            if not rule:
                yield file_of(label)
            elif rule.kind == "filegroup":
                yield from files(rule.lists.get("srcs", []))
            elif rule.kind == "_grpc_sources":
                for proto in files(rules[rule.lists["src"][0]].lists["srcs"]):
                    yield proto[:-len("proto")] + "grpc.pb.h"

    def headers(rule):
        """What others may include by depending on a rule."""
        if rule.kind == "cc_proto_library":
            for dep in rule.lists["deps"]:
                for proto in files(rules[dep].lists["srcs"]):
                    yield proto[:-len("proto")] + "pb.h"
        elif rule.kind == "alias":
            if rule.lists["actual"][0] in rules:
                yield from headers(rules[rule.lists["actual"][0]])
        else:
            yield from files(rule.lists.get("hdrs", []) + rule.lists.get("textual_hdrs", []))

    def used(label, seen):
        """Everything outside this repository that a rule needs, through other rules."""
        for dep in rules[label].lists.get("deps", []):
            if dep in rules:
                if dep not in seen:
                    seen.add(dep)
                    yield from used(dep, seen)
            elif dep.startswith("@"):
                yield dep

    wrong = []
    provided = {label: set(headers(rule)) for label, rule in rules.items()}
    owned = set()
    for label, rule in sorted(rules.items()):
        deps = rule.lists.get("deps", [])
        room = room_of(file_of(label))
        if not rule.kind.startswith("cc_"):
            continue
        # What it depends on.
        for dep in deps:
            if dep.startswith("@"):
                repository = dep[1:].split("//")[0]
                why = refusal(room, rooms.REPOSITORIES.get(repository, "@" + repository), 1)
            else:
                why = refusal(room, room_of(file_of(dep)), 0)
            if why:
                wrong.append("%s: %s: %s" % (label, dep, why))
        if room in rooms.PURE:
            for dep in used(label, set()):
                if not dep.startswith("@com_google_absl//"):
                    wrong.append("%s: needs %s, by way of its deps" % (label, dep))
        # What it includes, it depends on.
        mine = set(files(rule.lists.get("srcs", []) + rule.lists.get("hdrs", []) + rule.lists.get("textual_hdrs", [])))
        owned |= mine
        for path in sorted(mine & tree.keys()):
            for line, header, _ in includes(tree[path]):
                if room_of(header) in rooms.ROOMS:
                    ok = header in mine or any(header in provided.get(dep, ()) for dep in deps)
                    wanted = " or ".join(sorted(l for l in provided if header in provided[l])) or "a rule with it in hdrs"
                else:
                    labels = party(header)[1]
                    ok = not labels or set(labels) & set(deps)
                    wanted = " or ".join(labels)
                if not ok:
                    wrong.append("%s:%d: %s: %s lacks %s" % (path, line, header, label, wanted))
    for path in sources(tree):
        # examples/consumer is a workspace of its own, which the query does not see.
        if path not in owned and not path.startswith("examples/consumer/"):
            wrong.append("%s: belongs to no rule" % path)
    # Bazel 4 has these rules built in; later ones do not.
    for path in sorted(tree):
        if os.path.basename(path) == "BUILD":
            for kind in re.findall(r"^\s*((?:cc|java|proto|py|sh)_\w+)\(", tree[path], re.MULTILINE):
                if not re.search(r'load\([^)]*"%s"' % kind, tree[path]):
                    wrong.append("%s: %s is not loaded" % (path, kind))
    return wrong


# ---- planted faults: (file or files to add, what the check must then say)


def planted_includes(tree):
    for room, header in [
            ("core", "<grpcpp/grpcpp.h>"), ("core", "<curl/curl.h>"), ("core", "<google/protobuf/message.h>"),
            ("core", "<chrono>"), ("core", "<mutex>"), ("core", "<random>"), ("core", "<iostream>"),
            ("core", "<unistd.h>"), ("core", '"signals/retry_after.h"'), ("core", '"planted.h"'),
            ("signals", "<thread>"), ("signals", '"runtime/client.h"'), ("runtime", "<grpcpp/alarm.h>"),
            ("interceptors", "<curl/curl.h>"), ("curl_wrap", "<grpcpp/grpcpp.h>"), ("proto", '"runtime/client.h"'),
            ("runtime", '"tests/testing/provider.h"'), ("tests", "<openssl/ssl.h>"), ("attic", "<vector>")]:
        # Into a new file, and at the end of each file that is there.
        for path in [room + "/planted.cc"] + [p for p in sources(tree) if room_of(p) == room]:
            text = tree.get(path, "") + "\n#include %s\n" % header
            yield check_includes({path: text}), path, header.strip('<>"')


def planted_words(tree):
    for room in rooms.PURE:
        for text in ["absl::Now()", "std::chrono::steady_clock::now()", "absl::SleepFor(d)", "usleep(1)",
                     "std::this_thread::sleep_for(d)", "std::random_device device", "absl::BitGen gen", "rand()",
                     "std::mutex m", "absl::Mutex m", "std::thread t"]:
            for path in [room + "/planted.cc"] + [p for p in sources(tree) if room_of(p) == room]:
                planted = tree.get(path, "") + "\n/* 1 */ auto x = 1'000; %s;  // 2\n" % text
                yield check_words({path: planted}), path, re.split("[ (]", text)[0].split("::")[-1]


def planted_rules(tree, rules):
    def rule(name, **lists):
        return Rule("cc_library", dict(lists, name=[name]))

    def with_rule(room, text, **lists):
        name, path = "//%s:planted" % room, room + "/planted.cc"
        return check_rules({**tree, path: text}, {**rules, name: rule(name, srcs=[name + ".cc"], **lists)})

    core, grpc = "//core:planted", "@com_github_grpc_grpc//:grpc++"
    yield with_rule("core", "", deps=["@curl//:curl"]), core, "@curl//:curl"
    yield with_rule("core", "", deps=["//runtime:x"]), core, "//runtime:x"
    yield with_rule("runtime", "", deps=["//tests/testing:x"]), "//runtime:planted", "//tests/testing:x"
    yield with_rule("core", '#include "absl/time/clock.h"\n'), core, "absl/time:time"
    yield with_rule("core", '#include "core/none.h"\n'), core, "core/none.h"
    yield with_rule("tests", "#include <grpcpp/grpcpp.h>\n"), "//tests:planted", grpc
    yield check_rules({**tree, "core/planted.cc": ""}, rules), "core/planted.cc", "no rule"
    yield check_rules({**tree, "core/planted/BUILD": "cc_library(\n"}, rules), "core/planted/BUILD", "not loaded"
    # Through a rule of the same room, which alone would be caught as well.
    chain = {core: rule(core, deps=["//core:inner"]), "//core:inner": rule("//core:inner", deps=[grpc])}
    yield check_rules(tree, {**rules, **chain}), core + ": needs", grpc
    # A real rule that loses its deps.
    for label, real in rules.items():
        mine = [file_of(l) for l in real.lists.get("srcs", []) + real.lists.get("hdrs", [])]
        if real.kind.startswith("cc_") and any(party(h)[1] for p in mine if p in tree for _, h, _ in includes(tree[p])):
            yield check_rules(tree, {**rules, label: Rule(real.kind, {**real.lists, "deps": []})}), label, "lacks"
            break


def main():
    tree = load_tree()
    if sys.argv[1:] == ["includes"]:
        wrong, planted = check_includes(tree), planted_includes(tree)
    elif sys.argv[1:] == ["words"]:
        wrong, planted = check_words(tree), planted_words(tree)
    elif len(sys.argv) == 3 and sys.argv[1] == "rules":
        rules = load_rules(sys.argv[2])
        wrong, planted = check_rules(tree, rules), planted_rules(tree, rules)
    else:
        sys.exit(__doc__)
    for found, where, what in planted:
        if not any(where in line and what in line for line in set(found) - set(wrong)):
            wrong.append("this check is blind: planted in %s and not found: %s" % (where, what))
    print("".join(line + "\n" for line in wrong), end="")
    sys.exit(bool(wrong))


main()
