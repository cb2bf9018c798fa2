# shellcheck shell=bash disable=SC2154
# Sourced by ./dev, whose variables and functions it uses: mutants.

cmd_mutants() {
  local arg options=() action=run program=(python3 -B "$root/tools/dev/mutants/main.py") scratch bin log targets labels
  for arg; do
    case $arg in
      --list) action=list ;;
      *) options+=("$arg") ;;
    esac
  done
  if [ "$action" = list ]; then
    "${program[@]}" list "${options[@]}"
    return
  fi
  setup
  # Kept from one time to the next, so that only what has changed is built again.
  scratch=$(bazel_home)/.cache/forbear-mutants/$(printf %s "$root" | sha256sum | cut -c -16)
  mkdir -p "$scratch" && "${program[@]}" plant --scratch="$scratch" "${options[@]}" || return 1

  say "./dev: building the tests with all mutants planted (the first time takes some minutes)"
  targets=$("${program[@]}" tests "${options[@]}") || return 1
  mapfile -t labels < <(bazel_in "$scratch" query "tests(set($targets))" 2>/dev/null)
  [ ${#labels[@]} -ne 0 ] || die "no tests: does one of $targets not load?"
  log=$(mktemp) || return 1
  # shellcheck disable=SC2064 # its value now: it is local
  trap "rm -f '$log'" EXIT
  # What the mutants are made of need not be pretty.
  local flags=(--copt=-w --copt=-g0 --copt=-O1 --jobs=2)
  if ! bazel_in "$scratch" build "${flags[@]}" "${labels[@]}" >"$log" 2>&1; then
    grep -vE '^(INFO|Loading|Analyzing)' "$log" | cut -c -400 | head -n 60
    die "with the mutants planted it does not build; FORBEAR_MUTANT(n) above is one that does not compile"
  fi
  bin=$(bazel_in "$scratch" info "${flags[@]}" bazel-bin 2>/dev/null) || die "bazel info failed"
  # It has nothing to do for a long time now, and memory is for the tests.
  bazel_in "$scratch" shutdown >/dev/null 2>&1
  "${program[@]}" run --scratch="$scratch" --bin="$bin" "${options[@]}" "${labels[@]#//}"
}
