# Shared by scripts/test, scripts/demo and bench/: says what it does, installs what is missing, keeps to one directory.
# shellcheck shell=bash

ROOT=$PWD
# Everything that the scripts make and keep lies here.
CACHE=${ROLLGATE_CACHE_DIR:-$ROOT/target/rollgate-cache}
mkdir -p "$CACHE"
export ROLLGATE_CACHE_DIR=$CACHE

say() { printf '==> %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need_toolchain() {
  command -v cargo >/dev/null || die "cargo is not on PATH; install a Rust toolchain (1.90 or newer)"
  command -v cc >/dev/null || have_or_install cc gcc libc6-dev || die "no C compiler; install gcc"
}

# have_or_install PROGRAM PACKAGE...: true if PROGRAM is there, after installing the packages if it was not.
have_or_install() {
  local program=$1
  shift
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "installing $*"
  apt_update_once
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>"$CACHE/apt.log" 2>&1
}

apt_update_once() {
  [ -n "${APT_UPDATED:-}" ] && return 0
  apt-get update >>"$CACHE/apt.log" 2>&1
  APT_UPDATED=1
}

# The test binaries under tests/ that need no lab.
integration_suites() {
  local f
  for f in tests/*.rs agent/tests/*.rs; do
    # An engine of its own is a part of the lab's tests.
    [ -e "$f" ] && [ "$f" != tests/engine.rs ] && basename "$f" .rs
  done
  return 0
}

# left_over DIRECTORY: the processes that know the directory, one a line; see left-over.sh.
left_over() { env -u TMPDIR bash scripts/lib/left-over.sh <<<"$1"; }

check_shell_syntax() {
  local f rc=0
  for f in scripts/test scripts/demo scripts/lib/*.sh .ci/run tests/lab/lab tests/lab/data-set/recipe tests/engine/run.sh bench/*/run; do
    [ -e "$f" ] || continue
    # The recipe turns extglob on before it is needed, which a check alone does not.
    bash -O extglob -n "$f" || rc=1
  done
  return $rc
}
