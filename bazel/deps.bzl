"""Where Forbear's dependencies come from, for a WORKSPACE.

    local_repository(name = "forbear", path = "...")
    load("@forbear//bazel:deps.bzl", "forbear_offline_rules", "forbear_system_deps")
    forbear_offline_rules()
    forbear_system_deps()

A repository that WORKSPACE has defined before the call is left alone, so each
dependency can be replaced by a source build under the same name.
"""

load(":native_rules.bzl", "coverage_tools", "native_rules")
load(":system_package.bzl", "system_package")

# Target -> pkg-config module. A line per target that Forbear, or a program that
# copies our examples, may want; Debian 12 has 20220623, so there is no absl/log.
_ABSL = {
    "absl/algorithm:container": ["absl_algorithm_container"],
    "absl/base:base": ["absl_base"],
    "absl/base:config": ["absl_config"],
    "absl/base:core_headers": ["absl_core_headers"],
    "absl/cleanup:cleanup": ["absl_cleanup"],
    "absl/container:btree": ["absl_btree"],
    "absl/container:fixed_array": ["absl_fixed_array"],
    "absl/container:flat_hash_map": ["absl_flat_hash_map"],
    "absl/container:flat_hash_set": ["absl_flat_hash_set"],
    "absl/container:inlined_vector": ["absl_inlined_vector"],
    "absl/container:node_hash_map": ["absl_node_hash_map"],
    "absl/flags:flag": ["absl_flags"],
    "absl/flags:parse": ["absl_flags_parse"],
    "absl/functional:any_invocable": ["absl_any_invocable"],
    "absl/functional:bind_front": ["absl_bind_front"],
    "absl/functional:function_ref": ["absl_function_ref"],
    "absl/hash:hash": ["absl_hash"],
    "absl/memory:memory": ["absl_memory"],
    "absl/meta:type_traits": ["absl_type_traits"],
    "absl/numeric:bits": ["absl_bits"],
    "absl/numeric:int128": ["absl_int128"],
    "absl/random:bit_gen_ref": ["absl_random_bit_gen_ref"],
    "absl/random:distributions": ["absl_random_distributions"],
    "absl/random:random": ["absl_random_random"],
    "absl/status:status": ["absl_status"],
    "absl/status:statusor": ["absl_statusor"],
    "absl/strings:cord": ["absl_cord"],
    "absl/strings:str_format": ["absl_str_format"],
    "absl/strings:strings": ["absl_strings"],
    "absl/synchronization:synchronization": ["absl_synchronization"],
    "absl/time:time": ["absl_time"],
    "absl/types:optional": ["absl_optional"],
    "absl/types:span": ["absl_span"],
    "absl/types:variant": ["absl_variant"],
    "absl/utility:utility": ["absl_utility"],
}

def _maybe(rule, name, **kwargs):
    if name not in native.existing_rules():
        rule(name = name, **kwargs)

def forbear_offline_rules():
    """What Bazel 4 would download for itself.

    Leave the call out on a Bazel >= 5 that has a network.
    """
    for language in ["cc", "java", "proto"]:
        _maybe(native_rules, "rules_" + language, language = language)
    _maybe(coverage_tools, "remote_coverage_tools")

def forbear_system_deps():
    """Every dependency, from packages installed on this machine.

    Repositories are lazy: what no target needs is not looked for.
    """
    _maybe(
        system_package,
        "com_google_absl",
        apt = ["libabsl-dev"],
        targets = _ABSL,
    )
    _maybe(
        system_package,
        "com_google_protobuf",
        apt = ["libprotobuf-dev", "protobuf-compiler"],
        targets = {
            ":protobuf": ["protobuf"],
            ":protobuf_lite": ["protobuf-lite"],
        },
        programs = {":protoc": "protoc"},
        headers = {"google/protobuf": "protobuf"},
        build_files = {Label("//bazel:system/protobuf.BUILD"): ""},
        files = {
            Label("//bazel:system/cc_proto_library.bzl"): "bazel/cc_proto_library.bzl",
            Label("//bazel:system/proto_library.bzl"): "bazel/proto_library.bzl",
        },
    )
    _maybe(
        system_package,
        "com_github_grpc_grpc",
        apt = ["libgrpc++-dev", "protobuf-compiler-grpc"],
        targets = {
            ":grpc++": ["grpc++"],
            ":grpc++_test": [],  # header only: grpcpp/test/*
        },
        deps = {
            ":grpc++": ["@com_google_protobuf//:protobuf"],
            ":grpc++_test": [":grpc++"],
        },
        programs = {"src/compiler:grpc_cpp_plugin": "grpc_cpp_plugin"},
        files = {Label("//bazel:system/cc_grpc_library.bzl"): "bazel/cc_grpc_library.bzl"},
    )
    _maybe(
        system_package,
        "curl",
        apt = ["libcurl4-openssl-dev"],
        targets = {":curl": ["libcurl"]},
    )

    # Tests and benchmarks only.
    _maybe(
        system_package,
        "com_google_googletest",
        apt = ["libgtest-dev", "libgmock-dev"],
        targets = {
            ":gtest": ["gmock", "gtest"],
            ":gtest_main": ["gmock_main"],
        },
    )
    _maybe(
        system_package,
        "com_github_google_benchmark",
        apt = ["libbenchmark-dev"],
        targets = {
            ":benchmark": ["benchmark"],
            ":benchmark_main": ["benchmark"],
        },
        # It has no .pc file of its own.
        linkopts = {":benchmark_main": ["-lbenchmark_main"]},
    )
    _maybe(
        system_package,
        "libevent",
        apt = ["libevent-dev"],
        targets = {":libevent": ["libevent", "libevent_pthreads"]},
    )
