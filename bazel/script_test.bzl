"""script_test: a test that is a shell or Python script.

    script_test(
        name = "usage_test",
        size = "small",
        src = "usage_test.py",
        args = ["$(location //tools:forbear)"],
        data = ["//tools:forbear"],
    )

The script is executable and begins with #!/bin/sh or #!/usr/bin/env python3; it
starts in the runfiles directory, so $(location ...) is a path it can use as it
is. There is no library behind it: sh_test is no longer built into Bazel 8, and
py_test drags in a Python toolchain that Bazel 4 cannot fetch offline.
"""

def _script_test_impl(ctx):
    runner = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(
        runner,
        "#!/bin/sh\nexec \"$TEST_SRCDIR/$TEST_WORKSPACE/{}\" \"$@\"\n".format(ctx.file.src.short_path),
        is_executable = True,
    )
    runfiles = ctx.runfiles(files = [ctx.file.src] + ctx.files.data)
    for target in ctx.attr.data:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return [DefaultInfo(executable = runner, runfiles = runfiles)]

script_test = rule(
    implementation = _script_test_impl,
    attrs = {
        "src": attr.label(mandatory = True, allow_single_file = True),
        "data": attr.label_list(allow_files = True),
    },
    test = True,
)
