"""Stand-ins for what Bazel 4 downloads before it compiles its first file.

@rules_cc, @rules_java, @rules_proto: Debian's bazel-bootstrap 4.2.3 embeds none
of them, its own @bazel_tools loads all of them, and Debian's bazel-rules-cc does
not load under it (it wants use_cpp_toolchain(), new in Bazel 5). Here they are
made of the rules that are built into Bazel 4 to 7. Debian's bazel-* packages are
not needed.

@remote_coverage_tools: every cc_test asks for it, with or without coverage.

A repository of the same name in WORKSPACE wins over Bazel's own definition.
"""

_RULES = {
    "cc": [
        "cc_binary",
        "cc_import",
        "cc_library",
        "cc_proto_library",
        "cc_test",
        "cc_toolchain",
        "cc_toolchain_suite",
        "objc_library",
    ],
    "java": [
        "java_binary",
        "java_import",
        "java_library",
        "java_proto_library",
        "java_runtime",
        "java_test",
        "java_toolchain",
    ],
    "proto": [
        "proto_lang_toolchain",
        "proto_library",
    ],
}

_PROVIDERS = {
    "cc": ["CcInfo", "CcToolchainConfigInfo", "DebugPackageInfo", "cc_common"],
    "java": ["JavaInfo", "java_common"],
    "proto": ["ProtoInfo"],
}

def _native_rules_impl(ctx):
    language = ctx.attr.language
    ctx.file("WORKSPACE", "workspace(name = {})\n".format(repr(ctx.name)))
    ctx.file("BUILD", "")
    ctx.file(language + "/BUILD", "package(default_visibility = [\"//visibility:public\"])\n")

    # A .bzl file cannot export a built-in name under that same name in one step.
    providers = _PROVIDERS[language]
    ctx.file(language + "/providers.bzl", "".join(["Native{0} = {0}\n".format(p) for p in providers]))
    ctx.file(language + "/defs.bzl", "".join(
        ["load(\":providers.bzl\", {})\n".format(", ".join(["\"Native{}\"".format(p) for p in providers]))] +
        ["{0} = Native{0}\n".format(p) for p in providers] +
        ["def {0}(**kwargs):\n    native.{0}(**kwargs)\n".format(r) for r in _RULES[language]],
    ))

native_rules = repository_rule(
    implementation = _native_rules_impl,
    attrs = {"language": attr.string(mandatory = True, values = ["cc", "java", "proto"])},
)

def _coverage_tools_impl(ctx):
    ctx.file("WORKSPACE", "workspace(name = {})\n".format(repr(ctx.name)))
    ctx.symlink(ctx.attr._merge, "merge.py")
    ctx.file("BUILD", "\n".join(["package(default_visibility = [\"//visibility:public\"])"] + [
        "sh_binary(name = \"{}\", srcs = [\"merge.py\"])".format(name)
        for name in ["coverage_report_generator", "lcov_merger"]
    ] + [""]))

coverage_tools = repository_rule(
    implementation = _coverage_tools_impl,
    attrs = {"_merge": attr.label(default = "//bazel:system/coverage_merge.py", allow_single_file = True)},
)
