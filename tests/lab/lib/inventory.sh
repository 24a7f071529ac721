# What a test reads: how to reach the hosts, and what the runbook has to know of this fleet.
# shellcheck shell=bash

write_ssh_files() {
  local host
  : >"$STATE/known_hosts"
  for host in $(seq -f 'h%.0f' "$1"); do
    printf '%s %s\n' "$host,$(address "$host")" "$(cut -d' ' -f1,2 "$HOST_DATA/$host/key.pub")" >>"$STATE/known_hosts"
  done
  {
    for host in $(seq -f 'h%.0f' "$1"); do
      printf 'Host %s\n    HostName %s\n' "$host" "$(address "$host")"
    done
    cat <<TEXT
Host *
    User ops
    IdentityFile $STATE/key
    IdentitiesOnly yes
    UserKnownHostsFile $STATE/known_hosts
    StrictHostKeyChecking yes
    ConnectTimeout 5
    LogLevel ERROR
TEXT
  } >"$STATE/ssh_config"
}

write_inventory() {
  local host hosts
  mapfile -t hosts < <(all_hosts)
  {
    cat <<TEXT
# Written by tests/lab/lab; the hosts are containers on this machine.
docker_hosts:
  hosts:
TEXT
    for host in "${hosts[@]}"; do
      printf '    %s:\n      ansible_host: %s\n' "$host" "$(address "$host")"
    done
    cat <<TEXT
  vars:
    ansible_user: ops
    ansible_ssh_private_key_file: $STATE/key
    ansible_ssh_common_args: -o UserKnownHostsFile=$STATE/known_hosts
    ansible_python_interpreter: /usr/bin/python3
    # The hosts hold images and containers already; their old data root stays where it is.
    existing_data: keep_aside
    # The remapped data root starts empty, so the image comes from a file.
    images_to_load:
      - {image: "workspace-base:latest", archive: /var/lib/workspace/images/workspace-base.tar}
    probe_image: workspace-base:latest
    # There is no package index here, so pip installs what the image carries.
    workspace_checks:
      - "python3 -c 'print(\"userns-remap test: OK\")'"
      - touch /workspace/test-userns
      - pip install --user wheel
      - git --version
    health_url: http://127.0.0.1:8000/health
    warm_pool_min: 2
    proxy_sockets: [/var/run/proxy.sock, /var/run/agent.sock]
    proxy_check: proxy-get /ping
    socket_directories:
      - {path: /var/lib/workspace/sockets, uid: 1000, gid: 1000}
    # Seconds. All hosts share two cores: below this a slow container start says nothing about the change.
    p95_floor_s: 5
    min_free_mb: 512
TEXT
    if printf '%s\n' "${hosts[@]}" | grep -qx "$FIRST_USER_HOST"; then
      cat <<TEXT
# Here the first user, $FIRST_USER, owns 100000:65536 in /etc/subuid and /etc/subgid already.
range_taken:
  hosts:
    $FIRST_USER_HOST:
TEXT
    fi
  } >"$STATE/inventory.yml"
}
