"""Repositories made of packages that are installed on this machine.

Each one carries the labels of the real Bazel repository of the same name, so
that a BUILD file does not know where its dependency comes from.
"""

_HEAD = """load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])
"""

def _missing(ctx, what, detail = ""):
    fail("\n".join([
        "",
        "@{}: {} was not found on this system.".format(ctx.name, what),
        "  On Debian or Ubuntu: apt-get install " + " ".join(ctx.attr.apt),
        "  Elsewhere: install it and put its .pc file on PKG_CONFIG_PATH.",
        "  Or define @{} in WORKSPACE before forbear_system_deps(): it is then left alone.".format(ctx.name),
    ] + (["  pkg-config says: " + detail.split("\n")[0]] if detail else [])))

def _pkg_config(ctx, args, modules):
    program = ctx.which("pkg-config")
    if not program:
        fail("\n@{}: the program pkg-config is missing: apt-get install pkg-config".format(ctx.name))
    result = ctx.execute([program] + args + modules)
    if result.return_code != 0:
        _missing(ctx, "pkg-config package " + " ".join(modules), result.stderr.strip())
    return result.stdout.strip()

def _is_builtin(path):
    # Also /usr/include/hiredis and its like: #include <hiredis/hiredis.h> is how
    # the header is named in the source repositories, and that needs no -I.
    return path == "/usr/include" or path.startswith("/usr/include/") or path == "/usr/local/include"

def _flags(ctx, modules):
    """What pkg-config says about modules, as attributes of a cc_library."""
    defines, includes, linkopts = [], [], []
    for flag in _pkg_config(ctx, ["--cflags", "--libs"], modules).split(" "):
        if flag.startswith("-D"):
            defines.append(flag[2:])
        elif flag.startswith("-I"):
            if not _is_builtin(flag[2:]) and flag[2:] not in includes:
                includes.append(flag[2:])
        elif flag.startswith("-Wl,"):
            linkopts.append(flag)
        elif flag.startswith("-l") or flag.startswith("-L") or flag == "-pthread":
            # Naming a shared library twice changes nothing.
            if flag not in linkopts:
                linkopts.append(flag)

        # Anything else (-std=, -m, -W) is the business of whoever compiles.

    # A library outside the default directories must also be found at run time.
    linkopts += ["-Wl,-rpath," + flag[2:] for flag in linkopts if flag.startswith("-L")]
    return struct(defines = defines, includes = includes, linkopts = linkopts)

def _rule_text(kind, name, attrs):
    return "\n".join(
        ["", kind + "(", "    name = {},".format(repr(name))] +
        ["    {} = {},".format(key, value) for key, value in attrs.items() if value != "[]"] +
        [")", ""],
    )

def _system_package_impl(ctx):
    build = {"": []}  # folder -> the parts of its BUILD file

    for label, folder in ctx.attr.build_files.items():
        build.setdefault(folder, []).append(ctx.read(label))

    links = {}  # include directory -> its name here
    for target, modules in ctx.attr.targets.items():
        folder, _, name = target.partition(":")
        flags = _flags(ctx, modules) if modules else struct(defines = [], includes = [], linkopts = [])
        if flags.includes and folder:
            fail("{}: only a target of the top folder can have include directories".format(target))
        for path in flags.includes:
            if path not in links:
                links[path] = "include_{}".format(len(links))
                ctx.symlink(path, links[path])
        dirs = [links[path] for path in flags.includes]
        build.setdefault(folder, []).append(_rule_text("cc_library", name, {
            "hdrs": "glob({})".format(repr([d + "/**" for d in dirs])) if dirs else "[]",
            "includes": repr(dirs),
            "defines": repr(flags.defines),
            "linkopts": repr(ctx.attr.linkopts.get(target, []) + flags.linkopts),
            "deps": repr(ctx.attr.deps.get(target, [])),
        }))

    for target, program in ctx.attr.programs.items():
        folder, _, name = target.partition(":")
        path = ctx.which(program)
        if not path:
            _missing(ctx, "the program " + program)
        ctx.symlink(path, (folder + "/" if folder else "") + name)
        build.setdefault(folder, []).append("\nexports_files([{}])\n".format(repr(name)))

    for link, module in ctx.attr.headers.items():
        path = ctx.path(_pkg_config(ctx, ["--variable=includedir"], [module]) + "/" + link)
        if not path.exists:
            _missing(ctx, str(path))
        ctx.symlink(path, link)

    for label, place in ctx.attr.files.items():
        ctx.symlink(label, place)
        build.setdefault(place.rpartition("/")[0], [])

    for folder, parts in build.items():
        ctx.file((folder + "/" if folder else "") + "BUILD", _HEAD + "\n" + "".join(parts))
    ctx.file("WORKSPACE", "workspace(name = {})\n".format(repr(ctx.name)))

system_package = repository_rule(
    implementation = _system_package_impl,
    attrs = {
        "apt": attr.string_list(mandatory = True, doc = "Debian packages to name when something is missing."),
        "targets": attr.string_list_dict(doc = "'folder:name' of a cc_library -> its pkg-config modules."),
        "deps": attr.string_list_dict(doc = "'folder:name' -> further deps of that target."),
        "linkopts": attr.string_list_dict(doc = "'folder:name' -> linkopts ahead of pkg-config's."),
        "programs": attr.string_dict(doc = "'folder:name' -> program on PATH."),
        "headers": attr.string_dict(doc = "Directory below a module's includedir, linked here under its own name -> the module."),
        "files": attr.label_keyed_string_dict(allow_files = True, doc = "File -> its place here."),
        "build_files": attr.label_keyed_string_dict(allow_files = True, doc = "Start of a BUILD file -> its folder."),
    },
    # `configure`, but not `local`: local would ask pkg-config about everything at
    # each start of the Bazel server. After an upgrade of a package: bazel sync --configure.
    configure = True,
    environ = ["PATH", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"],
)
