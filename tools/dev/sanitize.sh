# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by ./dev, whose variables and functions it uses: asan, ubsan, tsan.

# A sanitizer that is quiet may also be blind. So each of these programs of
# tests/sanitizers must be stopped, and its log must say what is here; "sound" ones must
# pass, which shows that the others are not stopped for another reason.
planted_asan='
  leak               LeakSanitizer: detected memory leaks
  use_after_free     heap-use-after-free
  buffer_overflow    heap-buffer-overflow'
planted_ubsan='
  integer_overflow   runtime error: signed integer overflow'
planted_tsan='
  racy_runtime       data race.* in forbear::Execution::SetNotReplayable
  racy_interceptor   data race tests/sanitizers/interceptor_callback.cc
  sound_runtime      sound
  sound_interceptor  sound'

# planted CONFIG LOG
planted() {
  local config=$1 log=$2 table=planted_$1 start=$SECONDS name wanted targets=() logs
  mapfile -t targets < <(awk 'NF { print "//tests/sanitizers:" $1 }' <<<"${!table}")
  bazel_in "$root" test --config="$config" --keep_going "${targets[@]}" >"$log" 2>&1
  logs=$(bazel_in "$root" info --config="$config" bazel-testlogs 2>/dev/null)/tests/sanitizers
  while read -r name wanted; do
    [ -n "$name" ] || continue
    if [ "$wanted" = sound ]; then
      grep -qE "^//tests/sanitizers:$name +(\(cached\) )?PASSED in " "$log"
    else
      grep -qE "^//tests/sanitizers:$name +FAILED in " "$log" && grep -qE "$wanted" "$logs/$name/test.log"
    fi
    # shellcheck disable=SC2181 # of either
    if [ $? -eq 0 ]; then
      report "planted: $name" $((SECONDS - start)) 0
    else
      grep -E "^//tests/sanitizers:$name |^ERROR: " "$log"
      tail -n 40 "$logs/$name/test.log"
      report "planted: $name" $((SECONDS - start)) 1
    fi
  done <<<"${!table}"
}

# cmd_sanitize CONFIG ARGS...
cmd_sanitize() {
  local config=$1 everything=1 passed=0 failed=0 log
  shift
  setup
  log=$(mktemp) || exit 1
  # shellcheck disable=SC2064 # its value now: it is local
  trap "rm -f '$log'" EXIT
  if has_target "$@"; then
    bazel_tests --config="$config" "$@"
  else
    bazel_tests --config="$config" "$@" //...
    planted "$config" "$log"
  fi
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
