"""fuzz_target: a fuzzer under --config=fuzz (./dev fuzz), a replay of its seeds otherwise."""

load("@rules_cc//cc:defs.bzl", "cc_test")

def fuzz_target(name, deps):
    """One parser that is fed with anything.

    Args:
      name: the source is <name>_fuzz.cc, the seeds are the files in seeds/<name>; the
        test is called <name>_fuzz.
      deps: what it feeds, beside :fuzz_target.
    """
    cc_test(
        name = name + "_fuzz",
        size = "small",
        srcs = [name + "_fuzz.cc"],
        args = ["tests/fuzz/seeds/" + name],
        data = native.glob(["seeds/" + name + "/*"]),
        tags = ["fuzz"],
        deps = [":fuzz_target"] + deps,
    )
