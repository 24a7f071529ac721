#!/bin/bash
# An engine of its own, with data, migrated by the real program and taken back: run.sh ROLLGATE DIRECTORY STRATEGY
# In mount and process namespaces of its own, so that nothing of the machine is changed and nothing stays behind.
set -euo pipefail
rollgate=$1 dir=$2 strategy=$3
if [ -z "${INSIDE:-}" ]; then
  INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$@"
fi
mkdir -p "$dir"/{etc,work,home}
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/work" overlay /etc
mkdir -p /var/lib/rollgate /run/containerd
mount -t tmpfs -o mode=755 tmpfs /var/lib/rollgate
mount -t tmpfs tmpfs /run/containerd
rm -f /etc/docker/daemon.json
grep -q '^dockremap:' /etc/passwd || echo 'dockremap:x:64999:64999::/:/bin/false' >> /etc/passwd
grep -q '^dockremap:' /etc/group || echo 'dockremap:x:64999:' >> /etc/group
echo dockremap:231072:65536 | tee /etc/subuid > /etc/subgid
export HOME=$dir/home DOCKER_HOST=unix://$dir/sock
pid=

start() {
  dockerd -H "$DOCKER_HOST" --data-root "$dir/root" --exec-root "$dir/exec" --pidfile "$dir/pid" --bridge=none \
    --iptables=false --ip6tables=false --storage-driver overlay2 "$@" >> "$dir/dockerd.log" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    docker info > /dev/null 2>&1 && return
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.1
  done
  tail -5 "$dir/dockerd.log" >&2
  exit 1
}

stop() {
  kill "$pid"
  wait "$pid" || true
}

# What a container sees, and what the engine knows.
account() {
  echo "== $1"
  for name in db host; do
    for _ in $(seq 100); do
      [ "$(docker inspect -f '{{.State.Running}}' $name)" = true ] && docker exec $name test -e /ready && break
      sleep 0.1
    done
  done
  docker info -f '{{.ID}} {{.Images}} images, {{.ContainersRunning}} of {{.Containers}} containers'
  docker volume ls -q
  docker exec db find /data /bin/setuid /bin/capable /gone -exec stat -c '%n %u:%g %a %F' {} + 2>&1 | sort || true
  docker exec db cat /data/rows
  docker exec --user 999 db test -r /data/pg/private && echo the owner reads what is private
  getcap "$(docker inspect -f '{{.GraphDriver.Data.MergedDir}}' db)/bin/capable" | sed 's/.*capable //'
  for name in db host; do
    echo "$name $(sed 's/  */ /g' "/proc/$(docker inspect -f '{{.State.Pid}}' $name)/uid_map")"
  done
  echo "root $(docker info -f '{{.DockerRootDir}}')"
}

image=$dir/image
mkdir -p "$image"/{bin,lib64,data,tmp}
cp /usr/bin/busybox "$image/bin/"
for library in $(ldd /usr/bin/busybox | grep -o '/[^ ]*'); do
  mkdir -p "$image$(dirname "$library")"
  cp -L "$library" "$image$library"
done
for name in sh find stat sort cat test sleep chown chmod mkdir touch rm; do ln -s busybox "$image/bin/$name"; done
cp "$image/bin/busybox" "$image/bin/setuid"
chmod 4755 "$image/bin/setuid"
cp "$image/bin/busybox" "$image/bin/capable"
setcap cap_net_raw+ep "$image/bin/capable"
echo deleted later > "$image/gone"

start
tar -C "$image" --xattrs --xattrs-include='*' -c . | docker import - base > /dev/null
docker run --detach --name db --network none --restart unless-stopped --volume data:/data base sh -c '
  if [ ! -e /data/rows ]; then
    mkdir /data/pg && echo secret > /data/pg/private && echo first > /data/rows
    chown -R 999:999 /data && chmod 700 /data/pg && rm /gone
  fi
  touch /ready
  while :; do sleep 1; done' > /dev/null
docker run --detach --name host --network host --restart unless-stopped base sh -c 'touch /ready; while :; do sleep 1; done' > /dev/null
account before
stop

cat > "$dir/play.yml" <<TEXT
- hosts: all
  gather_facts: false
  rollout: {batches: [1], min_healthy_time: 0s, bake_time: 0s}
  tasks:
    - userns_migrate: {root: $dir/root, start: 231072, units: [], strategy: $strategy, userns_host: [host]}
TEXT
echo "local ansible_connection=local" > "$dir/hosts"
"$rollgate" run -i "$dir/hosts" "$dir/play.yml" > "$dir/run.log" 2>&1 || { cat "$dir/run.log" >&2; exit 1; }

start --userns-remap dockremap
account remapped
docker exec --user 999 db sh -c 'echo second >> /data/rows'
stop

run=$("$rollgate" runs | grep -o '[0-9]\{8\}T[0-9.]*Z-[0-9a-f]*' | tail -1)
"$rollgate" rollback "$run" > "$dir/rollback.log" 2>&1 || { cat "$dir/rollback.log" >&2; exit 1; }
start
account back
stop
