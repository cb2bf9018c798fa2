# shellcheck shell=bash disable=SC2154
# Sourced by ./dev, whose variables and functions it uses: soak.

# cmd_soak NAME OPTIONS...: everything that one driver does, at once and for long, under
# address sanitizer, which looks for leaks when it is over.
cmd_soak() {
  local bin program=${1:-}
  case $program in
    curl | grpc) shift ;;
    *) die "soak: curl or grpc [--minutes N] [--seed N]; not $program" ;;
  esac
  setup
  say "./dev: building the soak"
  quietly build --config=asan "//tests/soak:${program}_soak" || die "the soak does not build"
  bin=$(bazel_in "$root" info --config=asan bazel-bin 2>/dev/null) || die "bazel info failed"
  # What was freed is kept back for a while: not so much of it that this hides growth.
  ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:quarantine_size_mb=64 \
    exec "$bin/tests/soak/${program}_soak" "$@"
}
