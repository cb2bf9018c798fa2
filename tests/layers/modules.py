#!/usr/bin/env python3
"""Holds MODULE.bazel to the BUILD files, to bazel/deps.bzl and to WORKSPACE.

    modules.py QUERY.xml       QUERY.xml is the output of
                               bazel query --output=xml --xml:default_values //...

Bazel 4 does not read MODULE.bazel. It is a subset of Python, as is deps.bzl, so both are
run here with functions that only write down what they were called with. What this sees:
the name under which each repository is known, on both sides; what a build would miss, or
have for nothing; whether a user of Forbear would need what only its tests should. What it
does not see: whether the registry has such a version, and which labels that one has.

It first proves that it still bites, on copies with a fault planted into them.
"""
import collections
import os
import re
import sys
import types
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# A workspace of its own, which names this one @forbear.
CONSUMER = "examples/consumer/"

# A bazel_dep: name in the registry, version, whether only this repository needs it.
Module = collections.namedtuple("Module", "name version dev")


def load_tree():
    tree = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if not f.startswith((".", "bazel-"))]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if (name in ("BUILD", "WORKSPACE", "MODULE.bazel") or name.endswith(".bzl")) and not path.startswith(CONSUMER):
                with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                    tree[path] = f.read()
    return tree


def read_module(text):
    """(name of the module, {repository: Module}, faults)"""
    names, modules, wrong = [], {}, []

    def bazel_dep(name, version, repo_name=None, dev_dependency=False):
        repository = repo_name or name
        if repository in modules:
            wrong.append("MODULE.bazel: @%s twice" % repository)
        if not re.fullmatch(r"\d[\w.+-]*", version):
            wrong.append("MODULE.bazel: %s: version %r" % (name, version))
        modules[repository] = Module(name, version, dev_dependency)

    def module(name, version):
        names.append(name)

    exec(text, {"module": module, "bazel_dep": bazel_dep})  # pylint: disable=exec-used
    return names, modules, wrong


def read_deps(text):
    """The repositories that the two macros of bazel/deps.bzl define."""
    rules, packages = set(), set()

    def system_package(name, **_):
        packages.add(name)

    def other(name, **_):
        rules.add(name)

    scope = {
        "load": lambda *_: None,
        "native": types.SimpleNamespace(existing_rules=lambda: {}),
        "Label": str,
        "system_package": system_package,
        "native_rules": other,
        "coverage_tools": other,
    }
    exec(text, scope)  # pylint: disable=exec-used
    scope["forbear_offline_rules"]()
    scope["forbear_system_deps"]()
    return rules, packages


def repositories_in_text(tree):
    """{repository: the files that name it}, without what the repositories themselves are made of."""
    found = collections.defaultdict(set)
    for path, text in tree.items():
        if os.path.basename(path) == "BUILD" or (path.endswith(".bzl") and not path.startswith("bazel/")):
            code = re.sub(r"(?m)^\s*#.*$", "", text)
            for repository in re.findall(r'"@([\w.-]+)(?://[^"]*)?"', code):
                found[repository].add(path)
    return found


def loaded(text):
    """The repositories from which a BUILD file loads."""
    return set(re.findall(r'\bload\(\s*"@([\w.-]+)//', text))


def load_rules(path):
    """{label: (only for tests, repositories of its deps)}"""
    rules = {}
    for rule in xml.etree.ElementTree.parse(path).getroot().iter("rule"):
        testonly = rule.get("class").endswith("_test") or any(
            flag.get("name") == "testonly" and flag.get("value") == "true" for flag in rule.findall("boolean"))
        deps = {
            match[1]
            for name in ("deps", "srcs", "data", "hdrs", "tools")
            for attribute in rule.findall("list") if attribute.get("name") == name
            for label in attribute.iter("label")
            for match in [re.match(r"@([\w.-]+)//", label.get("value"))] if match
        }
        rules[rule.get("name")] = (testonly, deps)
    return rules


def check(tree, rules):
    names, modules, wrong = read_module(tree["MODULE.bazel"])
    offline, packages = read_deps(tree["bazel/deps.bzl"])

    workspace = re.search(r'^workspace\(name = "([^"]+)"\)', tree["WORKSPACE"], re.MULTILINE)
    if not workspace or names != [workspace[1]]:
        wrong.append("MODULE.bazel: the module must have the name that WORKSPACE has")
    for macro in ("forbear_offline_rules", "forbear_system_deps"):
        if not re.search(r"^%s\(\)" % macro, tree["WORKSPACE"], re.MULTILINE):
            wrong.append("WORKSPACE: does not call %s()" % macro)

    # What is named, is there, in both worlds.
    used = repositories_in_text(tree)
    for repository, where in sorted(used.items()):
        files = ", ".join(sorted(where))
        if repository not in modules:
            wrong.append("MODULE.bazel: no @%s, which %s needs" % (repository, files))
        if repository not in offline | packages:
            wrong.append("bazel/deps.bzl: no @%s, which %s needs" % (repository, files))
    # What is there, is named.
    for repository in sorted(modules.keys() - used.keys()):
        wrong.append("MODULE.bazel: no BUILD file needs @%s" % repository)
    for repository in sorted(packages - modules.keys()):
        wrong.append("MODULE.bazel: no @%s, which bazel/deps.bzl has" % repository)

    # A dev_dependency does not exist for those who use Forbear as a module.
    for label, (testonly, deps) in sorted(rules.items()):
        loads = loaded(tree.get(label.lstrip("/").split(":")[0] + "/BUILD", ""))
        for repository in sorted(deps | loads):
            if not testonly and repository in modules and modules[repository].dev:
                wrong.append("MODULE.bazel: @%s is a dev_dependency, but %s is not testonly" % (repository, label))
    return wrong


def planted(tree, rules):
    """(what a check of a faulty copy found, what it must have found)"""

    def with_text(path, old, new):
        if not re.search(old, tree[path]):
            return ["nowhere to plant in " + path]
        return check({**tree, path: re.sub(old, new, tree[path], count=1)}, rules)

    def with_rule(testonly, repository):
        return check(tree, {**rules, "//planted": (testonly, {repository})})

    def with_build(text):
        return check({**tree, "planted/BUILD": text}, rules)

    module, deps = "MODULE.bazel", "bazel/deps.bzl"
    yield with_text(module, ', repo_name = "com_google_absl"', ""), "MODULE.bazel: no @com_google_absl, which "
    yield with_text(module, ', repo_name = "com_google_absl"', ""), "no BUILD file needs @abseil-cpp"
    yield with_text(module, r'bazel_dep\(name = "curl".*\n', ""), "MODULE.bazel: no @curl"
    yield with_text(module, r'version = "29\.0"', 'version = ""'), "protobuf: version"
    yield with_text(module, r'(?m)^(bazel_dep\(name = "curl".*)$', r"\1\n\1"), "@curl twice"
    yield with_text(module, r"(?m)$\Z", 'bazel_dep(name = "zlib", version = "1.3")\n'), "no BUILD file needs @zlib"
    yield with_text(module, 'name = "forbear"', 'name = "forebear"'), "the name that WORKSPACE has"
    yield with_text("WORKSPACE", r"(?m)^forbear_system_deps\(\)", ""), "does not call forbear_system_deps"
    yield with_text(deps, r'"com_google_googletest",', '"gtest",'), "bazel/deps.bzl: no @com_google_googletest"
    yield with_text(deps, r'"com_google_googletest",', '"gtest",'), "no @gtest, which bazel/deps.bzl has"
    yield with_text(deps, r'"rules_" \+ language', '"rule_" + language'), "bazel/deps.bzl: no @rules_cc"
    yield with_build('load("@rules_foo//foo:defs.bzl", "foo")\n'), "MODULE.bazel: no @rules_foo, which planted/BUILD"
    yield with_build('cc_library(name = "x", deps = ["@foo"])\n'), "bazel/deps.bzl: no @foo, which planted/BUILD"
    yield with_rule(False, "com_google_googletest"), "but //planted is not testonly"
    yield with_text(module, r'(?m)^(bazel_dep\(name = "protobuf".*)\)$', r"\1, dev_dependency = True)"), "is not testonly"
    yield with_text(module, r'(?m)^(bazel_dep\(name = "abseil-cpp".*)\)$', r"\1, dev_dependency = True)"), "//core:"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tree, rules = load_tree(), load_rules(sys.argv[1])
    wrong = check(tree, rules)
    for found, what in planted(tree, rules):
        if not any(what in line for line in set(found) - set(wrong)):
            wrong.append("this check is blind: planted and not found: %s" % what)
    print("".join(line + "\n" for line in wrong), end="")
    sys.exit(bool(wrong))


main()
