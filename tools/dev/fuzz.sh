# shellcheck shell=bash disable=SC2154
# Sourced by ./dev, whose variables and functions it uses: fuzz.

# fuzz_run NAME SECONDS LOG OPTIONS...: one fuzzer on the seeds in the tree. What it finds
# itself goes to a folder that is thrown away, but for an input that stops it.
fuzz_run() {
  local name=$1 seconds=$2 log=$3
  shift 3
  rm -rf "$scratch/corpus"
  mkdir "$scratch/corpus"
  ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
    ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-14/bin/llvm-symbolizer UBSAN_SYMBOLIZER_PATH=/usr/lib/llvm-14/bin/llvm-symbolizer \
    "$bin/tests/fuzz/${name}_fuzz" -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 \
    -print_funcs=0 "$@" "$scratch/corpus" "$root/tests/fuzz/seeds/$name" >"$log" 2>&1
}

# fuzz_planted NAME PLANT TEXT: does it find the fault that was planted for this? A fuzzer
# that looks at nothing, or whose sanitizer is asleep, finds nothing in any parser.
fuzz_planted() {
  if FORBEAR_FUZZ_PLANT=$2 fuzz_run "$1" 300 "$log" -artifact_prefix="$scratch/" -seed=1; then
    echo "$1 is blind: the planted fault ($2) was not found in five minutes"
    return 1
  fi
  if ! grep -q "$3" "$log" || ! grep -q 'inline 8-bit counters' "$log"; then
    tail -n 20 "$log"
    echo "$1 is blind: with the planted fault ($2) it ended in another way"
    return 1
  fi
}

# fuzz_one NAME: sets $found for the line about it.
fuzz_one() {
  local name=$1 keep input
  fuzz_planted "$name" memory 'AddressSanitizer: heap-buffer-overflow' || return 1
  # One is enough for what all share.
  if [ "$overflow_seen" -eq 0 ]; then
    fuzz_planted "$name" overflow 'runtime error: signed integer overflow' || return 1
    overflow_seen=1
  fi
  keep=$(bazel_home)/.cache/forbear-fuzz/$name
  mkdir -p "$keep" || return 1
  if fuzz_run "$name" "$seconds" "$log" -artifact_prefix="$keep/"; then
    found=$(awk '
      match($0, /cov: [0-9]+/) { cov = substr($0, RSTART + 5, RLENGTH - 5) }
      /^stat::number_of_executed_units:/ { runs = $2 }
      END { printf "%d inputs, %d edges", runs, cov }' "$log")
    return 0
  fi
  grep -vE '^(INFO|#[0-9]+)[:\t]' "$log" | tail -n 60
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  if [ -n "$input" ]; then
    python3 -c 'import sys; data = open(sys.argv[1], "rb").read(); print("%d bytes: %r" % (len(data), data[:400]))' "$input"
    echo "again:  ./dev fuzz $name $input"
    echo "for ever, after it was mended:  cp $input tests/fuzz/seeds/$name/, by a name that says what it is"
  fi
  return 1
}

cmd_fuzz() {
  local seconds=60 names=() files=() arg name known log bin scratch start found overflow_seen=0 passed=0 failed=0
  for arg; do
    case $arg in
      --seconds=*) seconds=${arg#*=} ;;
      -*) die "fuzz: [TARGET…] [--seconds=N], or TARGET FILE… to replay inputs; not $arg" ;;
      *) if [ -f "$arg" ]; then files+=("$(readlink -f "$arg")"); else names+=("$arg"); fi ;;
    esac
  done
  [[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || die "fuzz: --seconds=N, with N from 1 on; not $seconds"
  packages+=(clang-14 libclang-rt-14-dev lld-14 llvm-14)
  setup
  mapfile -t known < <(bazel_in "$root" query 'attr(tags, fuzz, //tests/fuzz:all)' 2>/dev/null | sed 's/.*://; s/_fuzz$//')
  [ ${#known[@]} -ne 0 ] || die "fuzz: no targets: does //tests/fuzz load?"
  [ ${#names[@]} -ne 0 ] || names=("${known[@]}")
  for name in "${names[@]}"; do
    case " ${known[*]} " in
      *" $name "*) ;;
      *) die "fuzz: no file and no target is called $name; targets: ${known[*]}" ;;
    esac
  done
  [ ${#files[@]} -eq 0 ] || [ $# -eq $((${#files[@]} + 1)) ] || die "fuzz: one TARGET, and the FILEs that it shall replay"

  say "./dev: building ${#names[@]} fuzzers with clang (the first time takes some minutes)"
  local labels=("${names[@]/#///tests/fuzz:}")
  quietly build --config=fuzz "${labels[@]/%/_fuzz}" || die "the fuzzers do not build"
  bin=$(bazel_in "$root" info --config=fuzz bazel-bin 2>/dev/null) || die "bazel info failed"
  if [ ${#files[@]} -ne 0 ]; then
    UBSAN_OPTIONS=print_stacktrace=1 ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-14/bin/llvm-symbolizer \
      "$bin/tests/fuzz/${names[0]}_fuzz" "${files[@]}"
    return
  fi
  scratch=$(mktemp -d) || exit 1
  # shellcheck disable=SC2064 # its value now: it is local
  trap "rm -rf '$scratch'" EXIT
  log=$scratch/log
  for name in "${names[@]}"; do
    start=$SECONDS
    found=
    if fuzz_one "$name"; then
      report "fuzz $name: $found" $((SECONDS - start)) 0
    else
      report "fuzz $name" $((SECONDS - start)) 1
    fi
  done
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
