# Starts the agent: looks for it by digest, asks for it where it is not there, and becomes it. Sent as one line in single
# quotes, because the login shell may be bash, csh or fish: so no single quote, no backslash, no exclamation mark (csh)
# in here, and every line can be joined to the next. Runs in dash, bash, busybox.
#
# Arguments: the directory that replaces the default, or -; then one ARCHITECTURE:SHA256 for each agent that the
# controller has.
#
# Each program and each fork less counts, where fifty hosts share a machine: what the shell can do by itself, it does.
#
# Whether a file is whole it says itself (--digest), in a fraction of the time that sha256sum takes: nobody but root and
# this user can have written it, and one that a crash cut short says nothing, so that it is asked for again. What is no
# program is not started: a shell would read it as a script.
#
# Says one line on standard output: "start PATH", "need ARCHITECTURE CODING", "arch ARCHITECTURE" or "fail WHY", each
# after a mark, because the login shell's own files may have printed something before.
cd /;
o=$1;
shift;
l=$*;
m=; v=;
while read -r k x w q; do case $k in Umask:) v=$x;; Uid:) m=$w; break;; esac; done 2>/dev/null </proc/self/status;
m=${m:-$(id -u)};
v=${v:-$(umask)};
umask 077;
say() { echo "ROLLGATE1 $*"; };
die() { say fail "$*"; exit 3; };
pick() { read -r a 2>/dev/null </proc/sys/kernel/arch || a=$(uname -m); s=; for p in $l; do case $p in "$a":*) s=${p#*:};; esac; done; };
case $# in 1) s=${1#*:};; *) pick;; esac;

# checked DIRECTORY [FILE]: nobody but root and this user can change them. For root, and for what root keeps, all the
# way up, where a sticky directory is well; for others from their own directory on (a home may be open to its group).
# Names are given to ls as . and ..: none has a space, and every entry is nine words.
checked() {
  cd -P "$1" 2>/dev/null || die "$1 cannot be entered";
  d=$PWD; p=$d; q=.; k=3; [ "$m" = 0 ] && k=99;
  set -- ${2:+"./$2"};
  while [ -n "${p#/}" ] && [ $k -gt 0 ]; do set -- "$@" "$q"; q=$q/..; p=${p%/*}; k=$((k - 1)); done;
  w=$(LC_ALL=C ls -ldn "$@" 2>&1) || die "not safe to run the agent from: $w";
  set -f; set -- $w;
  while [ $# -gt 0 ]; do
    w=;
    case $3 in 0|"$m") ;; *) w="it belongs to user $3";; esac;
    case $1 in
      d????w????*|d???????w*) case $m$1 in 0?????????[tT]*) ;; *) w="others can write to it ($1)";; esac;;
      -????w????*|-???????w*) w="others can write to it ($1)";;
      d*|-*) ;;
      *) w="it is neither a directory nor a file ($1)";;
    esac;
    [ -z "$w" ] || { case $9 in */rollgate-agent) p=$d/rollgate-agent;; *) p=$(cd -P "$9" && pwd);; esac; die "not safe to run the agent from: $p: $w"; };
    shift 9;
  done;
  set +f; cd /;
};

# What runs there makes its files as the user himself would.
run() { say start "$d/rollgate-agent"; umask "$v"; exec "$d/rollgate-agent" --stdio; };
program() { IFS= read -r q <"$1"; case $q in ?ELF*) ;; *) return 1;; esac; };
whole() { program "$1" && [ "$("$1" --digest 2>/dev/null)" = "$s" ]; };

# Where agents are kept, the first choice first. Another user than root may run what root keeps.
r=;
if [ "$o" = - ]; then
  if [ "$m" = 0 ]; then set -- /var/lib/rollgate /usr/local/lib/rollgate /opt/rollgate;
  else
    r=/var/lib/rollgate;
    set -- "${HOME:-/nonexistent}/.local/state/rollgate" "/run/user/$m/rollgate" "/var/tmp/rollgate-$m" "/dev/shm/rollgate-$m";
  fi;
else set -- "$o"; fi;
for b in $r "$@"; do
  if [ -n "$s" ] && [ -f "$b/agent/$s/rollgate-agent" ]; then
    checked "$b/agent/$s" rollgate-agent;
    whole "$d/rollgate-agent" && run;
  fi;
done;

# fresh DIRECTORY: makes it, the two below it and what is missing above it. Succeeds if it was mkdir that made them all.
fresh() {
  case $1 in /*) ;; *) return 1;; esac;
  [ -e "$1" ] && return 1;
  p=${1%/*};
  set -- "$1" "$1/agent" "$1/agent/$s";
  until [ -d "${p:-/}" ]; do set -- "$p" "$@"; p=${p%/*}; done;
  mkdir "$@" 2>/dev/null;
};

# It is not there, or not whole. Root makes its directory only below what is safe already. A file that cannot be run says
# that the file system is mounted noexec: the next directory then. Another user looks at the last three of its path: where
# mkdir itself has just made them, there is nothing to look at.
pick;
[ -n "$s" ] || { say arch "$a"; exit 3; };
f=;
for b in "$@"; do
  if [ "$m" = 0 ]; then
    umask 022;
    p=$b;
    until [ -d "$p" ]; do p=${p%/*}; p=${p:-/}; done;
    checked "$p";
    [ -d "$b" ] || { mkdir -p "$b" && chmod 711 "$b"; } 2>/dev/null || continue;
  fi;
  if [ "$m" -ne 0 ] && fresh "$b"; then
    cd -P "$b/agent/$s" && d=$PWD && cd / || continue;
  else
    mkdir -p "$b/agent/$s" 2>/dev/null || continue;
    checked "$b/agent/$s";
  fi;
  t=$d/.new.$$;
  { : >"$t" && chmod 755 "$t" && [ -x "$t" ]; } 2>/dev/null && f=$d && break;
  rm -f "$t" 2>/dev/null;
done;
[ -n "$f" ] || die "no directory to run the agent from, none of these can be written and executed in: $*";

# The Hello that came too early is passed over: what follows it has a mark, and the Hello comes again. Nothing else comes
# before the agent has said that it starts, so that a head that reads further loses nothing.
z=raw;
command -v gzip >/dev/null && z=gzip;
say need "$a" "$z";
until [ "$k" = ROLLGATE1 ]; do read -r k n c || exit 3; done;
take() {
  dd bs=65536 count="$n" iflag=fullblock,count_bytes 2>/dev/null && return;
  dd count=0 iflag=fullblock,count_bytes </dev/null >/dev/null 2>&1 && return 1;
  head -c "$n";
};
if [ "$c" = gzip ]; then take | gzip -dc >"$t"; else take >"$t"; fi && program "$t" || { rm -f "$t"; die "the agent did not arrive whole in $d (is the disk full?)"; };

# It says itself whether it is the one that is meant, takes its place and says so.
umask "$v";
exec "$t" --stdio --install "$d/rollgate-agent" "$s";
