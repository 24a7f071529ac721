# Paths, addresses and small helpers that every part of the lab shares.
# shellcheck shell=bash disable=SC2034  # the variables are for the other parts

# Everything of the lab's own lives below LAB.
LAB=$(realpath -m "${ROLLGATE_CACHE_DIR:-$LAB_SRC/../../target/rollgate-cache}")/lab
IMAGES=$LAB/images        # images as files, kept from run to run
ENGINE_ROOT=$LAB/engine   # the data root of an engine that the lab started
HOST_DATA=$LAB/hosts      # a directory a host: its Docker data and its SSH host key
STATE=$LAB/state          # what a test reads: inventory, key, known_hosts, ssh_config
RUN=$LAB/run              # sockets, logs and mounts while the engine runs

# A Unix socket's path holds 107 bytes, and the engine adds some forty to this one.
if [ ${#RUN} -gt 62 ]; then
  RUN=/run/rollgate-lab-$(printf %s "$LAB" | cksum | cut -d' ' -f1)
fi

# The third number of the addresses. Another one is another lab beside the first, with an engine of its own.
DEFAULT_NET=77
use_net() {
  NET=$1
  SUBNET=172.31.$NET
  BRIDGE=rglab$NET
  PREFIX=rollgate-lab-$NET  # of containers, and the name of the network
  CGROUP=rollgate-lab-$NET
}
use_net "${ROLLGATE_LAB_NET:-$(cat "$LAB/net" 2>/dev/null || echo $DEFAULT_NET)}"
COMMENT=rollgate-lab      # on each firewall rule

# The client keeps its settings, and leaves what it writes, in the cache.
export DOCKER_CONFIG=$LAB/client DOCKER_BUILDKIT=0

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# One command at a time changes the fleet. What is started here must not inherit descriptor 9, or it holds the lock for good.
lock() {
  mkdir -p "$LAB"
  exec 9>"$LAB/lock"
  flock -n 9 || { say "waiting for another lab command to end"; flock 9; }
}

container() { echo "$PREFIX-$1"; }
address() { echo "$SUBNET.$((10 + ${1#h}))"; }

check_host() {
  [[ $1 =~ ^h[1-9][0-9]?$ ]] || die "no host is called '$1'; hosts are h1, h2, ..."
}

each_host() {
  local action=$1 host
  shift
  [ $# -gt 0 ] || die "which host?"
  for host; do
    check_host "$host"
    "$action" "$host"
  done
}

on_host() {
  local host=$1
  shift
  ssh -F "$STATE/ssh_config" "$host" "$@"
}

# Waits for every background job named by its pid and a label: PID LABEL ...
wait_all() {
  local failed=''
  while [ $# -gt 0 ]; do
    wait "$1" || failed+=" $2"
    shift 2
  done
  [ -z "$failed" ] || die "failed:$failed"
}
