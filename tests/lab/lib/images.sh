# The images: Debian from debootstrap, the workspace image that hosts run, the host image, and what a host's Docker
# holds at its first start. Each is kept as a file named by a digest of what it is made from.
# shellcheck shell=bash

host_image() { echo "rollgate-lab/host:$1-$(inputs "$1" host)"; }
seed_file() { echo "$IMAGES/seed-$1-$(inputs "$1" host workspace).tar"; }
workspace_file() { echo "$IMAGES/workspace-base-$1-$(inputs "$1" workspace).tar"; }

# CODENAME DIRECTORY...: changes when any file in there does.
inputs() {
  local codename=$1
  shift
  (cd "$LAB_SRC" && find "$@" -type f ! -path '*__pycache__*' -print0 | sort -z | xargs -0 sha256sum; echo "$codename") \
    | sha256sum | cut -c1-12
}

make_images() {
  local codename=$1
  mkdir -p "$IMAGES"
  have_image "$(host_image "$codename")" "$IMAGES/host-$codename-$(inputs "$codename" host).tar.zst" || build_host_image "$codename"
  [ -s "$(workspace_file "$codename")" ] || build_workspace_image "$codename"
  [ -s "$(seed_file "$codename")" ] || make_seed "$codename"
}

# In the engine, or as a file that can be loaded into it.
have_image() {
  local image=$1 file=$2
  docker image inspect "$image" >/dev/null 2>&1 && return
  [ -s "$file" ] || return 1
  say "loading $(basename "$file")"
  zstd -dcq "$file" | docker load >/dev/null
}

# NAME CONTEXT BASE; what the builder says goes to a log.
build() {
  local log
  log=$LAB/build-$(basename "$2").log
  # The network of the machine: the engine has none of its own, and apt needs one.
  docker build --network host --build-arg "BASE=$3" -t "$1" "$2" >"$log" 2>&1 || die "docker build failed, see $log"
}

build_base_image() {
  local codename=$1 tree=$LAB/debootstrap mirror
  local file=$IMAGES/debian-$codename.tar.zst image=rollgate-lab/debian:$codename
  have_image "$image" "$file" && return
  mirror=$(apt_mirror "$codename")
  say "making a Debian $codename base with debootstrap"
  rm -rf "$tree"
  debootstrap --variant=minbase --include=ca-certificates "$codename" "$tree" "$mirror" >"$LAB/debootstrap.log" 2>&1 \
    || die "debootstrap failed, see $LAB/debootstrap.log"
  rm -rf "$tree"/var/cache/apt/archives/*.deb
  tar -C "$tree" --numeric-owner --xattrs --xattrs-include='*' -cf - . | zstd -q -T0 -f -o "$file.part"
  zstd -dcq "$file.part" | docker import -c 'CMD ["bash"]' - "$image" >/dev/null
  # Only now, so that a broken import is not taken for a cached one. A file that `docker load` reads, like the others.
  docker save "$image" | zstd -q -T0 -f -o "$file"
  rm -rf "$tree" "$file.part"
}

# The mirror this machine's own apt is set up with. One that serves a release serves the others beside it.
apt_mirror() {
  local mirror
  # shellcheck disable=SC2016  # apt expands these, not the shell
  mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2; exit }')
  mirror=${ROLLGATE_LAB_MIRROR:-$mirror}
  [ -n "$mirror" ] || die "apt here knows no Debian mirror for $1; set ROLLGATE_LAB_MIRROR to the address of one"
  echo "$mirror"
}

build_host_image() {
  local codename=$1 image
  image=$(host_image "$codename")
  build_base_image "$codename"
  say "building the host image"
  build "$image" "$LAB_SRC/host" "rollgate-lab/debian:$codename"
  # Only after the new one: what both have in common was not built again.
  docker images --filter "before=$image" --format '{{.Repository}}:{{.Tag}}' "rollgate-lab/host" \
    | { grep -F ":$codename-" || true; } | xargs -r docker rmi >/dev/null
  rm -f "$IMAGES/host-$codename-"*.tar.zst
  docker save "$image" | zstd -q -T0 -o "$IMAGES/host-$codename-$(inputs "$codename" host).tar.zst.part"
  mv "$IMAGES/host-$codename-$(inputs "$codename" host).tar.zst"{.part,}
}

build_workspace_image() {
  local codename=$1 file
  file=$(workspace_file "$codename")
  build_base_image "$codename"
  say "building workspace-base"
  build rollgate-lab/workspace-files "$LAB_SRC/workspace" "rollgate-lab/debian:$codename"
  # tini, because a container whose first process does not end at SIGTERM costs ten seconds at each restart of Docker.
  docker run --rm --network none rollgate-lab/workspace-files tar -C /rootfs --numeric-owner -cf - . \
    | docker import -c 'ENTRYPOINT ["/usr/bin/tini", "--"]' -c 'CMD ["sleep", "infinity"]' -c 'USER 1000:1000' \
      -c 'WORKDIR /workspace' -c 'ENV HOME=/home/appuser PIP_NO_INDEX=1 PIP_FIND_LINKS=/usr/share/python-wheels' \
      - workspace-base:latest >/dev/null
  rm -f "$IMAGES/workspace-base-$codename-"*.tar
  docker save -o "$file.part" workspace-base:latest
  mv "$file.part" "$file"
  docker rmi workspace-base:latest rollgate-lab/workspace-files >/dev/null
}

# What /var/lib/docker holds once workspace-base is loaded. Unpacking that is quicker than loading the image on each
# host, which all share the machine's processors.
make_seed() {
  local codename=$1 file
  file=$(seed_file "$codename")
  say "preparing the data a host's Docker starts with"
  remove_host seed
  mkdir -p "$HOST_DATA/seed/docker"
  run_host "$codename" seed --network none
  local deadline=$((SECONDS + 60))
  until docker exec "$(container seed)" docker version >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "Docker does not start on a host; look with: lab docker logs $(container seed)"
    sleep 0.2
  done
  docker exec "$(container seed)" sh -ec '
    systemctl stop workspace-app
    docker load -qi /var/lib/workspace/images/workspace-base.tar
    systemctl stop docker.socket docker.service' >/dev/null
  rm -f "$IMAGES/seed-$codename-"*.tar
  # The rest is the engine's own, which each host is to make itself.
  tar -C "$HOST_DATA/seed/docker" --numeric-owner --xattrs --xattrs-include='*' -cf "$file.part" image overlay2
  mv "$file.part" "$file"
  remove_host seed
}
