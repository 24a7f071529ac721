# The Docker engine that the hosts run on: found where one answers, else started, and then stopped without a trace.
# shellcheck shell=bash

check_machine() {
  [ "$(id -u)" = 0 ] || die "the lab needs root: it starts an engine, makes a bridge and sets firewall rules"
  mkdir -p "$LAB"
  local kind free
  kind=$(stat -f -c %T "$LAB")
  # Hosts keep overlay file systems in there, and overlay cannot lie on overlay, nor on tmpfs with all attributes.
  case $kind in
    overlayfs | tmpfs | nfs) die "$LAB lies on $kind, where Docker cannot keep its layers; set ROLLGATE_CACHE_DIR to a directory on a disk" ;;
  esac
  free=$(df --output=avail -BM "$LAB" | tail -1 | tr -dc 0-9)
  [ "$free" -ge 1500 ] || die "only $free MB are free at $LAB; the lab needs 1500"
  [ "$free" -ge 5000 ] || say "disk is short: $free MB are free at $LAB, a first start takes about 3000"
}

install_packages() {
  local wanted=() tool
  # tool:package
  for tool in dockerd:docker.io docker:docker.io debootstrap:debootstrap iptables:iptables zstd:zstd \
    ssh:openssh-client curl:curl ip:iproute2 flock:util-linux; do
    command -v "${tool%%:*}" >/dev/null || wanted+=("${tool#*:}")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "please install: ${wanted[*]}"
  say "installing ${wanted[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${wanted[@]}" >"$LAB/packages.log" 2>&1 \
    || die "apt-get failed, see $LAB/packages.log"
}

# The engine writes its identity here, whatever it is told about directories.
ENGINE_KEY=/etc/docker/key.json

# The engine the lab started, if it still lives: a pid alone could be anyone's by now.
own_engine_pid() {
  local pid
  pid=$(cat "$RUN/dockerd.pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--data-root $ENGINE_ROOT" || return 1
  echo "$pid"
}

engine_answers() { docker version >/dev/null 2>&1; }

find_engine() {
  if own_engine_pid >/dev/null; then
    export DOCKER_HOST=unix://$RUN/docker.sock
    engine_answers
  elif [ -e "$LAB/engine-started" ]; then
    # Ours, and it died without a `lab down`. A new one does not take over what runs without it, but it knows
    # which containers and networks there were.
    say "the lab's engine is gone; ending what it left behind and starting it again"
    end_leftovers
    launch_engine
  else
    engine_answers
  fi
}

# Addresses that nobody else here has, kept until `lab down`.
choose_net() {
  [ ! -e "$LAB/net" ] && [ ! -e "$LAB/engine-started" ] || return 0
  if net_in_use "$NET"; then
    [ -z "${ROLLGATE_LAB_NET:-}" ] \
      || die "$SUBNET.0/24 is in use here, perhaps by another checkout's lab; set ROLLGATE_LAB_NET to another number, or to none"
    local taken=$SUBNET net
    for net in $(seq $((DEFAULT_NET + 1)) 254); do
      net_in_use "$net" || break
    done
    use_net "$net"
    say "$taken.0/24 is in use here, perhaps by another checkout's lab; this one is $SUBNET.0/24"
  fi
  echo "$NET" >"$LAB/net"
}

net_in_use() {
  { ip -o -4 address show; ip -4 route show; } | grep -E "(^| )172\.31\.$1\." >/dev/null
}

need_engine() { find_engine || die "the lab is down; start it with: lab up N"; }

start_engine() {
  if ! find_engine; then
    launch_engine
  elif [ ! -e "$LAB/engine-started" ]; then
    say "using the engine that answers already"
  fi
}

# No bridge, no firewall rules, no forwarding: the hosts' network is internal and builds use the machine's own,
# so the engine has nothing to undo on the machine when it stops.
launch_engine() {
  say "starting a Docker engine of the lab's own"
  mkdir -p "$RUN" "$ENGINE_ROOT"
  # Remembers that it is ours to stop, and whether the one file it writes elsewhere was there before.
  [ -e "$LAB/engine-started" ] || { ! [ -e "$ENGINE_KEY" ] || echo keep-key; } >"$LAB/engine-started"
  rm -f "$RUN/dockerd.pid"
  echo '{}' >"$RUN/daemon.json"  # else it reads the machine's
  setsid nohup dockerd --pidfile "$RUN/dockerd.pid" --data-root "$ENGINE_ROOT" --exec-root "$RUN/exec" \
    --host "unix://$RUN/docker.sock" --config-file "$RUN/daemon.json" \
    --bridge none --iptables=false --ip6tables=false --ip-forward=false --userland-proxy=false \
    --cgroup-parent "$CGROUP" >"$RUN/dockerd.log" 2>&1 </dev/null 9>&- &
  export DOCKER_HOST=unix://$RUN/docker.sock
  local deadline=$((SECONDS + 60))
  until engine_answers; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 $! 2>/dev/null; then
      die "the engine did not start, see $RUN/dockerd.log"
    fi
    sleep 0.1
  done
}

stop_engine() {
  local pid deadline=$((SECONDS + 60))
  pid=$(own_engine_pid) || return 0
  say "stopping the lab's engine"
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    [ $SECONDS -lt $deadline ] || die "the engine (pid $pid) does not end"
    sleep 0.1
  done
}

# The processes of an engine that was killed: its own by their directories, those of its containers by their cgroup.
leftover_processes() {
  local process
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in
      dockerd | containerd*) ! grep -qsF -e "$ENGINE_ROOT" -e "$RUN/exec" "$process/cmdline" || echo "${process#/proc/}" ;;
    esac
  done
  find /sys/fs/cgroup -path "*/$CGROUP/*" -name cgroup.procs -exec cat {} + 2>/dev/null
}

# Processes, mounts and devices; what is on disk stays. Finds nothing to do after a clean stop.
end_leftovers() {
  local processes mountpoint file tries=0
  # A frozen process does not even die.
  find /sys/fs/cgroup -path "*/$CGROUP/*" -name freezer.state 2>/dev/null | while read -r file; do
    echo THAWED >"$file" || true
  done
  find /sys/fs/cgroup -path "*/$CGROUP/*" -name cgroup.freeze 2>/dev/null | while read -r file; do
    echo 0 >"$file" || true
  done
  while mapfile -t processes < <(leftover_processes | sort -un) && [ ${#processes[@]} -gt 0 ]; do
    [ $((tries++)) -lt 50 ] || die "these processes do not end: ${processes[*]}"
    kill -9 "${processes[@]}" 2>/dev/null || true
    sleep 0.1
  done
  awk -v a="$LAB/" -v b="$RUN/" 'index($2, a) == 1 || index($2, b) == 1 { print $2 }' /proc/mounts | sort -r \
    | while read -r mountpoint; do umount -l "$mountpoint" || true; done
  ip link delete "$BRIDGE" 2>/dev/null || true
  find /sys/fs/cgroup -depth -type d \( -path "*/$CGROUP" -o -path "*/$CGROUP/*" \) -exec rmdir {} + 2>/dev/null || true
  rm -rf "$RUN"
}

# The last step of `lab down`.
sweep() {
  if [ -e "$LAB/engine-started" ]; then
    end_leftovers
    # Made by the engine outside its own directories; empty, unless another engine uses them too.
    rmdir /run/containerd/s /run/containerd /run/docker/plugins /run/docker 2>/dev/null || true
    grep -q keep-key "$LAB/engine-started" || rm -f "$ENGINE_KEY"
  fi
  rm -rf "$HOST_DATA" "$LAB/engine-started" "$LAB/net" "$STATE/inventory.yml"
}
