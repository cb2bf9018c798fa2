# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by ./dev, whose variables and functions it uses: lint and compdb.

# generated: the sources that Bazel makes of .proto files, which others include.
generated() {
  local targets
  mapfile -t targets < <(bazel_in "$root" query 'kind("cc_proto_library|_grpc_sources", //...)' 2>/dev/null)
  [ ${#targets[@]} -eq 0 ] || quietly build "${targets[@]}"
}

# compdb OUTPUT
compdb() {
  local query status
  generated || die "what is made of .proto files does not build"
  query=$(mktemp) || exit 1
  bazel_in "$root" aquery --output=jsonproto 'mnemonic("CppCompile", //...)' >"$query" 2>"$query.err" &&
    python3 -B "$root/tools/dev/compdb.py" "$query" "$(bazel_in "$root" info execution_root 2>/dev/null)" "$1"
  status=$?
  [ $status -eq 0 ] || cat "$query.err" >&2
  rm -f "$query" "$query.err"
  return $status
}

cmd_compdb() {
  setup
  compdb "$root/compile_commands.json"
}

# ---- lint: one function per tool. Each first shows that its tool finds a planted fault.

blind() {
  echo "$1 is blind: a planted fault was not found"
  return 1
}

# tracked PATTERN: the files of that extended regular expression that git knows and that are there.
tracked() {
  git -C "$root" ls-files | grep -E "$1" | while IFS= read -r file; do
    [ ! -f "$root/$file" ] || printf '%s\n' "$file"
  done
}

lint_format() {
  local files
  mapfile -t files < <(tracked '\.(h|cc|proto)$')
  cd "$root" || return 1
  if [ "$fix" -eq 1 ]; then clang-format-14 -i "${files[@]}" || return 1; fi
  if printf 'int  x;\n' | clang-format-14 --dry-run --Werror --assume-filename=planted.cc 2>/dev/null; then
    blind clang-format || return 1
  fi
  # Where each file begins to differ is enough; --fix knows the rest.
  clang-format-14 --dry-run --Werror "${files[@]}" 2>&1 |
    awk -F: '/^[^ ]+:[0-9]+:[0-9]+: / && !seen[$1]++ { print $1 ":" $2 ": not as clang-format writes it (./dev lint --fix)" }'
  return "${PIPESTATUS[0]}"
}

lint_tidy() {
  local files cache
  mapfile -t files < <(tracked '\.cc$')
  cache=$(bazel_home)/.cache/forbear-lint/tidy-$(printf %s "$root" | sha256sum | cut -c -16)
  mkdir -p "$cache" && compdb "$cache/compile_commands.json" >/dev/null || return 1
  python3 -B "$root/tools/dev/tidy.py" "$cache/compile_commands.json" "$cache" "${files[@]}"
}

# Prints where buildifier is, after putting it there.
buildifier() {
  local from=$root/tools/dev/npm place temporary
  place=$(bazel_home)/.cache/forbear-lint/npm-$(cat "$from"/package*.json | sha256sum | cut -c -16)
  if [ ! -x "$place/node_modules/.bin/buildifier" ]; then
    say "./dev: fetching buildifier from npm"
    mkdir -p "$(dirname "$place")" && temporary=$(mktemp -d "$place.XXXXXX") || return 1
    if ! cp "$from"/package*.json "$temporary" ||
      ! npm ci --prefix "$temporary" --ignore-scripts --no-audit --no-fund --loglevel=error >"$temporary/log" 2>&1; then
      cat "$temporary/log" >&2
      rm -rf "$temporary"
      return 1
    fi
    # Somebody else may have been faster.
    mv -T "$temporary" "$place" 2>/dev/null || rm -rf "$temporary"
  fi
  printf '%s\n' "$place/node_modules/.bin/buildifier"
}

lint_build() {
  local tool files stand_ins status=0
  tool=$(buildifier) || return 1
  mapfile -t files < <(tracked '(^|/)(BUILD|WORKSPACE|MODULE\.bazel|[^/]+\.bzl)$' | grep -v '^bazel/system/')
  # They stand in for what newer Bazels load, and so use what these no longer have.
  mapfile -t stand_ins < <(tracked '^bazel/system/.*\.(BUILD|bzl)$')
  cd "$root" || return 1
  if [ "$fix" -eq 1 ]; then "$tool" "${files[@]}" "${stand_ins[@]}" || return 1; fi
  if printf 'x=1\n' | "$tool" -mode=check -type=build >/dev/null 2>&1 ||
    printf '"""x"""\nload(":x.bzl", "x")\n' | "$tool" -mode=check -lint=warn -type=bzl >/dev/null 2>&1; then
    blind buildifier || return 1
  fi
  "$tool" -mode=check -lint=warn "${files[@]}" || status=1
  "$tool" -mode=check -lint=warn --warnings=-native-cc-proto,-native-proto,-native-proto-info,-native-proto-lang-toolchain \
    "${stand_ins[@]}" || status=1
  return $status
}

lint_shell() {
  local files
  mapfile -t files < <(tracked . | while IFS= read -r file; do
    head -n 1 "$root/$file" | LC_ALL=C grep -qaE '^#!.*[/ ](ba|da)?sh( |$)|^# shellcheck shell=' && printf '%s\n' "$file"
  done)
  cd "$root" || return 1
  # shellcheck disable=SC2016 # meant to be written so
  if printf '#!/bin/sh\nrm $1\n' | shellcheck - >/dev/null; then blind shellcheck || return 1; fi
  shellcheck "${files[@]}"
}

cmd_lint() {
  local fix=0 parts=() part start status passed=0 failed=0
  while [ $# -gt 0 ]; do
    case $1 in
      --fix) fix=1 ;;
      format | tidy | build | shell) parts+=("$1") ;;
      *) die "lint: [--fix] [format] [build] [shell] [tidy], not $1" ;;
    esac
    shift
  done
  [ ${#parts[@]} -gt 0 ] || parts=(format build shell tidy)
  packages+=(git clang-format-14 clang-tidy-14 shellcheck)
  # Whoever has another npm than Debian's keeps it.
  command -v npm >/dev/null || packages+=(npm)
  setup
  git -C "$root" rev-parse >/dev/null || die "lint looks at what git tracks"
  for part in "${parts[@]}"; do
    start=$SECONDS
    (lint_"$part")
    status=$?
    report "lint $part" $((SECONDS - start)) "$status"
  done
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
