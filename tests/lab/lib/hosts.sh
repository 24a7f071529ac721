# Hosts: starting, waiting for, resetting and removing them.
# shellcheck shell=bash

# The host whose first user came before Docker and owns the range 100000:65536. A fixed one, so that it does not
# change as the fleet grows, and not h1, so that a canary is plain.
FIRST_USER_HOST=h2
FIRST_USER=alice

all_hosts() {
  docker ps -a --filter "label=rollgate-lab=$LAB" --format '{{.Names}}' | sed "s/^$PREFIX-//" | grep -x 'h[0-9]*' | sort -V
}

container_state() { docker inspect -f '{{.State.Status}}' "$(container "$1")" 2>/dev/null || echo absent; }

make_network() {
  docker network inspect "$PREFIX" >/dev/null 2>&1 && return
  # Internal: hosts reach each other and this machine, and nothing else.
  docker network create --internal --subnet "$SUBNET.0/24" --label "rollgate-lab=$LAB" \
    -o com.docker.network.bridge.name="$BRIDGE" "$PREFIX" >/dev/null
}

# The key to log in with, and a key of each host's own that outlives a reset, as a reinstalled host's would not:
# a test about changed keys changes them itself.
make_keys() {
  local host
  mkdir -p "$STATE"
  [ -s "$STATE/key" ] || ssh-keygen -q -t ed25519 -N '' -C rollgate-lab -f "$STATE/key"
  for host in $(seq -f 'h%.0f' "$1"); do
    mkdir -p "$HOST_DATA/$host"
    [ -s "$HOST_DATA/$host/key" ] || ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$HOST_DATA/$host/key"
  done
}

start_hosts() {
  local codename=$1 count=$2 host jobs=()
  write_ssh_files "$count"
  for host in $(seq -f 'h%.0f' "$count"); do
    start_fresh "$codename" "$host" 9>&- &
    jobs+=($! "$host")
  done
  wait_all "${jobs[@]}"
}

# Brings one host from whatever state it is in to running and healthy; a running one is left as it is.
start_fresh() {
  local codename=$1 host=$2
  case $(container_state "$host") in
    running) ;;
    paused) host_unpause "$host" ;;
    exited | created) docker start "$(container "$host")" >/dev/null ;;
    *)
      say "starting $host at $(address "$host")"
      mkdir -p "$HOST_DATA/$host/docker"
      tar -C "$HOST_DATA/$host/docker" --numeric-owner --xattrs --xattrs-include='*' -xpf "$(seed_file "$codename")"
      local first_user=''
      [ "$host" != "$FIRST_USER_HOST" ] || first_user=$FIRST_USER
      # Back by itself after a reboot from inside, but not after `lab kill`.
      run_host "$codename" "$host" --network "$PREFIX" --ip "$(address "$host")" --restart unless-stopped \
        --env "LAB_FIRST_USER=$first_user" \
        -v "$HOST_DATA/$host/key:/etc/ssh/ssh_host_ed25519_key:ro" -v "$STATE/key.pub:/etc/ssh/lab_authorized_keys:ro"
      ;;
  esac
  wait_healthy "$host"
}

# Not --privileged: that asks for every capability, and fails where the machine itself lacks SYS_RESOURCE.
run_host() {
  local codename=$1 host=$2 complaint
  shift 2
  # Caught because it warns that the machine forwards nothing, which is as it should be.
  complaint=$(docker run -d --name "$(container "$host")" --hostname "$host" \
    --label "rollgate-lab=$LAB" --label "rollgate-lab.codename=$codename" \
    --cap-add ALL --cap-drop SYS_RESOURCE --device-cgroup-rule 'a *:* rwm' --cgroupns=private \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
    --tmpfs /run:exec --tmpfs /run/lock --tmpfs /tmp:exec \
    -v "$HOST_DATA/$host/docker:/var/lib/docker" \
    -v "$(workspace_file "$codename"):/var/lib/workspace/images/workspace-base.tar:ro" \
    "$@" "$(host_image "$codename")" 2>&1 >/dev/null) || die "$host does not start: $complaint"
}

health() { curl -s --noproxy '*' --max-time 3 "http://$(address "$1"):8000/health"; }

health_line() { health "$1" || echo "no answer at :8000/health"; }

# ssh answers, systemd has started everything, and the application has its whole pool.
wait_healthy() {
  local host=$1 deadline=$((SECONDS + ${ROLLGATE_LAB_TIMEOUT:-120})) report=''
  until report=$(health "$host") && [[ $report == *'"status": "healthy"'* ]] \
    && [[ $report =~ \"warm_pool_size\":\ ([0-9]+),\ \"warm_pool_target\":\ ([0-9]+) ]] \
    && [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]; do
    [ $SECONDS -lt $deadline ] || die "$host does not become healthy; it says: ${report:-nothing}"
    sleep 0.2
  done
  until on_host "$host" systemctl is-system-running --wait >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "$host does not finish starting: $(on_host "$host" systemctl --failed --plain --no-legend 2>&1)"
    sleep 0.2
  done
}

remove_host() {
  docker rm -fv "$(container "$1")" >/dev/null 2>&1 || true
  rm -rf "${HOST_DATA:?}/$1/docker"
}

reset_hosts() {
  local host codename jobs=() hosts=("$@")
  [ ${#hosts[@]} -gt 0 ] || mapfile -t hosts < <(all_hosts)
  for host in "${hosts[@]}"; do
    check_host "$host"
    codename=$(docker inspect -f '{{index .Config.Labels "rollgate-lab.codename"}}' "$(container "$host")" 2>/dev/null) \
      || die "there is no $host; lab up makes it"
    host_heal "$host"
    { remove_host "$host" && start_fresh "$codename" "$host"; } 9>&- &
    jobs+=($! "$host")
  done
  wait_all "${jobs[@]}"
}

remove_all() {
  local containers images
  mapfile -t containers < <(docker ps -aq --filter "label=rollgate-lab=$LAB")
  if [ ${#containers[@]} -gt 0 ]; then
    say "removing ${#containers[@]} hosts"
    docker rm -fv "${containers[@]}" >/dev/null
  fi
  docker network rm "$PREFIX" >/dev/null 2>&1 || true
  # In an engine of someone else's the images go too; in ours they are part of the cache.
  if [ ! -e "$LAB/engine-started" ]; then
    mapfile -t images < <(docker images -q 'rollgate-lab/*' | sort -u)
    [ ${#images[@]} -eq 0 ] || docker rmi -f "${images[@]}" >/dev/null || say "images that others use stay"
  fi
}

# The guard's units stay installed: they are rollgate's own.
host_state() {
  check_host "${1:-}"
  on_host "$1" sudo lab-state | grep -v '/rollgate-guard'
}

host_fault() {
  local host=${1:-} fault=${2:-} directory=/etc/workspace/faults
  check_host "$host"
  case $fault in
    none) on_host "$host" "sudo find $directory -type f -delete" ;;
    containers-fail-when-remapped | slow-start-when-remapped | proxy-down-when-remapped | unhealthy-when-remapped)
      on_host "$host" "echo '${3:-}' | sudo tee $directory/$fault >/dev/null"
      [ "$fault" != unhealthy-when-remapped ] || wait_for_container "$host" host-network
      ;;
    *) die "faults are: containers-fail-when-remapped, slow-start-when-remapped [SECONDS], proxy-down-when-remapped, unhealthy-when-remapped, none" ;;
  esac
}

# The application takes a second to do as the fault says; what a test compares with must include it.
wait_for_container() {
  on_host "$1" "for i in \$(seq 100); do sudo docker top $2 >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1" \
    || die "container $2 does not start on $1"
}
