# Faults from outside a host: freezing it, cutting its network, its power.
# shellcheck shell=bash

host_pause() { docker pause "$(container "$1")" >/dev/null; }
host_unpause() { docker unpause "$(container "$1")" >/dev/null; }
host_kill() { docker kill "$(container "$1")" >/dev/null; }

# Power back, until systemd has started everything, whatever became of it.
host_boot() {
  local deadline=$((SECONDS + ${ROLLGATE_LAB_TIMEOUT:-120})) state=''
  docker start "$(container "$1")" >/dev/null
  until state=$(on_host "$1" systemctl is-system-running --wait 2>/dev/null) || [ "$state" = degraded ]; do
    [ $SECONDS -lt $deadline ] || die "$1 does not boot; systemd says: ${state:-nothing}"
    sleep 0.2
  done
}

host_start() {
  docker start "$(container "$1")" >/dev/null
  wait_healthy "$1"
}

# Traffic between the machine and a container passes OUTPUT and INPUT, not FORWARD. A connection that is already
# up survives a short cut, as it would on a real network.
host_cut() {
  host_heal "$1"
  iptables -w -I OUTPUT -d "$(address "$1")" -m comment --comment "$COMMENT" -j DROP
  iptables -w -I INPUT -s "$(address "$1")" -m comment --comment "$COMMENT" -j DROP
}

host_heal() { remove_rules "$(address "$1")"; }

heal_all() { remove_rules "$SUBNET."; }

# iptables prints each rule as the arguments that made it, so deleting one is saying them again with -D.
remove_rules() {
  local rule
  command -v iptables >/dev/null || return 0
  iptables -w -S 2>/dev/null | grep -F -- "--comment $COMMENT" | grep -F -- " $1" | while read -r -a rule; do
    iptables -w -D "${rule[@]:1}"
  done || true
}
