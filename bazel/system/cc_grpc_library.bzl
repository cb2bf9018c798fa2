"""cc_grpc_library of gRPC's //bazel:cc_grpc_library.bzl, with the installed plugin.

The part of it that grpc_only = True covers: srcs is one proto_library, deps one
cc_proto_library.
"""

load("@rules_cc//cc:defs.bzl", "cc_library")

def _grpc_sources_impl(ctx):
    proto = ctx.attr.src[ProtoInfo]
    root = ctx.label.workspace_root  # "external/x", or "" in the main repository
    package = ctx.label.package + "/" if ctx.label.package else ""
    names, headers, sources = [], [], []
    for src in proto.direct_sources:
        name = src.path[len(root) + 1:] if root else src.path
        if not name.startswith(package):
            fail("{}: the .proto file must lie in this package, without strip_import_prefix".format(name))
        stem = name[len(package):-len(".proto")]
        names.append(name)
        headers.append(ctx.actions.declare_file(stem + ".grpc.pb.h"))
        sources.append(ctx.actions.declare_file(stem + ".grpc.pb.cc"))

    args = ctx.actions.args()
    args.add("--plugin=protoc-gen-grpc=" + ctx.executable._plugin.path)
    args.add("--grpc_out=" + ctx.bin_dir.path + ("/" + root if root else ""))
    args.add_all(proto.transitive_proto_path, format_each = "-I%s")
    if root:
        args.add("-I" + root)
    args.add_all(names)
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [args],
        inputs = proto.transitive_sources,
        tools = [ctx.executable._plugin],
        outputs = headers + sources,
        mnemonic = "GrpcSources",
        progress_message = "Generating gRPC code for %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset(headers + sources)),
        OutputGroupInfo(headers = depset(headers), sources = depset(sources)),
    ]

_grpc_sources = rule(
    implementation = _grpc_sources_impl,
    attrs = {
        "src": attr.label(mandatory = True, providers = [ProtoInfo]),
        "_plugin": attr.label(
            default = "//src/compiler:grpc_cpp_plugin",
            allow_files = True,
            cfg = "exec",
            executable = True,
        ),
        "_protoc": attr.label(
            default = "@com_google_protobuf//:protoc",
            allow_files = True,
            cfg = "exec",
            executable = True,
        ),
    },
)

def cc_grpc_library(name, srcs, deps, grpc_only = False, testonly = False, visibility = None, **kwargs):
    """The C++ service code of one proto_library.

    Args:
      name: of the cc_library.
      srcs: one proto_library.
      deps: its cc_proto_library.
      grpc_only: must be True: the messages come from deps.
      testonly: as everywhere.
      visibility: as everywhere.
      **kwargs: go to the cc_library.
    """
    if len(srcs) != 1 or len(deps) != 1 or not grpc_only:
        fail("{}: wants one proto_library in srcs, one cc_proto_library in deps, grpc_only = True".format(name))
    generated = "_" + name + "_sources"
    _grpc_sources(name = generated, src = srcs[0], testonly = testonly, visibility = ["//visibility:private"])
    for group in ["headers", "sources"]:
        native.filegroup(
            name = "_{}_{}_only".format(name, group),
            srcs = [":" + generated],
            output_group = group,
            testonly = testonly,
            visibility = ["//visibility:private"],
        )
    cc_library(
        name = name,
        srcs = [":_{}_sources_only".format(name)],
        hdrs = [":_{}_headers_only".format(name)],
        testonly = testonly,
        visibility = visibility,
        deps = deps + ["@com_github_grpc_grpc//:grpc++"],
        **kwargs
    )
