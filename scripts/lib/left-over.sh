# Reads a directory's name and prints the processes that have it in their environment, command line or working directory,
# one a line, each with the test that started it where nextest has said so. Those about to end have ten seconds for it.
# A program of its own, and the name comes on standard input: whoever searches must not be found.
# shellcheck shell=bash
set -euo pipefail
IFS= read -r directory

processes() {
  local place
  { grep -lzsF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline <<<"$directory" || true; } | cut -d/ -f3
  for place in /proc/[0-9]*/cwd; do
    case $(readlink "$place" 2>/dev/null) in "$directory"*) cut -d/ -f3 <<<"$place" ;; esac
  done
}

while [ $SECONDS -lt 10 ]; do
  found=$(processes | sort -nu)
  [ -n "$found" ] || exit 0
  sleep 0.5
done
for pid in $found; do
  words=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || continue
  test=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^NEXTEST_TEST_NAME=//p') || test=''
  printf '%s %s%s\n' "$pid" "$words" "${test:+(test $test)}"
done
