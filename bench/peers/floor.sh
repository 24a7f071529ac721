# The same ten tasks as one hand-written shell script: what 50 parallel OpenSSH clients run. $1 root, $2 start, $3 host.
set -eu
root=$1 start=$2 host=$3
put() { # put FILE: stdin to FILE, atomically, where it differs
  cat >"$1.new"
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else chmod 644 "$1.new" && mv "$1.new" "$1"; fi
}
mkdir -p "$root/etc/docker"
case $(uname -r) in [012].* | 3.[0-7].*) exit 1 ;; esac
put "$root/etc/docker/daemon.json" <<J
{
  "userns-remap": "dockremap",
  "storage-driver": "overlay2",
  "labels": ["host=$host"]
}
J
echo "dockremap:$start:65536" | put "$root/etc/subuid"
echo "dockremap:$start:65536" | put "$root/etc/subgid"
grep -qx 'user.max_user_namespaces = 15000' "$root/etc/sysctl.conf" 2>/dev/null ||
  echo 'user.max_user_namespaces = 15000' >>"$root/etc/sysctl.conf"
test -e "$root/etc/docker/daemon.json" || exit 1
grep -c dockremap "$root/etc/subuid" "$root/etc/subgid" >"$root/etc/count"
cat "$root/etc/count"
