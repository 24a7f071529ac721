"""One line for each inode of an engine's data: manifest.py ROOT [START]. With START, ROOT is a remapped root, and the ids of
what is the containers' are shown as a container sees them; anything else must be root's, whoever may pass.

Left out: what an engine writes anew whenever it starts.
"""

import os
import re
import stat
import struct
import sys

ROOT, START = sys.argv[1], int((sys.argv + ["0"])[2])
MOVED = ["containers", "engine-id", "image", "network", "overlay2", "plugins", "swarm", "trust", "volumes"]
OWNED = re.compile(
    r"overlay2/[^/]+/(diff|work|merged)(/|$)|volumes/[^/]+/_data(/|$)"
    r"|containers/[^/]+/(hostname|hosts|resolv\.conf)$|containers/[^/]+/mounts/."
)
PASSED = re.compile(r"(containers|overlay2)$|containers/[^/]+(/mounts)?$|overlay2/(?!l$)[^/]+$")
# Their content, or their time, is the engine's: it changes at each start of the engine or of any container.
RENEWED = re.compile(
    r"containers(/[^/]+){0,2}$|network/files(/|$)|volumes/metadata\.db$|volumes$"
    r"|image/overlay2/repositories\.json$|image/overlay2(/layerdb/mounts)?$|overlay2(/[^/]+(/committed)?)?$"
    r"|volumes/ledger/_data/rows$"
)
GONE = re.compile(r"(overlay2|volumes)/backingFsBlockDev$|overlay2/[^/]+/work/|overlay2/[^/]+/merged$|containers/[^/]+/mounts/")
WORK = re.compile(r"overlay2/[^/]+/work$")


def seen(number):
    return number - START if START and START <= number < START + 65536 else number


def attribute(path, name):
    value = os.getxattr(path, name, follow_symlinks=False)
    if START and name.startswith("system.posix_acl"):
        entries = [struct.unpack_from("<HHI", value, at) for at in range(4, len(value), 8)]
        value = value[:4] + b"".join(
            struct.pack("<HHI", tag, perm, seen(who) if tag in (2, 8) else who) for tag, perm, who in entries
        )
    return f"{name}={value.hex()}"


def line(path, inode):
    uid, gid = inode.st_uid, inode.st_gid
    is_deletion = stat.S_ISCHR(inode.st_mode) and inode.st_rdev == 0
    if OWNED.match(path):
        uid, gid = (0, 0) if is_deletion else (seen(uid), seen(gid))
    elif PASSED.match(path) and START and gid == START:
        gid = 0
    full = os.path.join(ROOT, path)
    words = [path, oct(inode.st_mode), f"{uid}:{gid}"]
    if not RENEWED.match(path) and not WORK.match(path):
        target = os.readlink(full) if stat.S_ISLNK(inode.st_mode) else ""
        size = inode.st_size if stat.S_ISREG(inode.st_mode) else inode.st_rdev
        attributes = sorted(attribute(full, name) for name in os.listxattr(full, follow_symlinks=False))
        words += [f"inode={inode.st_ino}", f"links={inode.st_nlink}", str(size), str(inode.st_mtime_ns), target, *attributes]
    return " ".join(words)


def walk(path, device):
    full = os.path.join(ROOT, path)
    inode = os.lstat(full)
    if inode.st_dev != device or GONE.match(path):
        return
    print(line(path, inode))
    if stat.S_ISDIR(inode.st_mode):
        for name in sorted(os.listdir(full)):
            walk(f"{path}/{name}", device)


for name in MOVED:
    if os.path.lexists(os.path.join(ROOT, name)):
        walk(name, os.stat(ROOT).st_dev)
