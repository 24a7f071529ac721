"""The data root that bench/migrate moves: tree.py make ROOT INODES | specials ROOT

Two thirds of the inodes are in layers, the rest in volumes. Of a hundred files, five are links, two second names; of a
thousand, two are setuid, five have access lists; of ten thousand, five have capabilities. One volume is one flat directory.
`specials` puts back what a change of owner has taken away."""
import os, struct, sys

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
NOBODY = 0xFFFFFFFF
ENTRIES = [(1, 6, NOBODY), (2, 4, 1000), (4, 4, NOBODY), (8, 4, 50), (16, 6, NOBODY), (32, 0, NOBODY)]
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)
BYTES = b"0123456789abcdef" * 1024
# Bytes of small files, as source trees and installed packages have them.
SIZES = [0, 40, 120, 300, 500, 900, 1500, 2500, 3800, 6000, 14000]


def special(path, number):
    if number % 500 == 7:
        os.chown(path, 0, 0)
        os.chmod(path, 0o4755)
    elif number % 2000 == 11:
        os.setxattr(path, "security.capability", CAPABILITY)


def file(path, number):
    if number % 20 == 3:
        os.symlink("../" + os.path.basename(path), path)
        return os.chown(path, number % 60, 0, follow_symlinks=False)
    if number % 50 == 9:
        return os.link(os.path.dirname(path) + "/first", path)
    made = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(made, BYTES[:SIZES[number % len(SIZES)]])
    if number % 3:
        os.fchown(made, number % 60 + (0 if number % 2 else 970), number % 20)
    os.close(made)
    if number % 200 == 5:
        os.setxattr(path, "system.posix_acl_access", ACL)
    special(path, number)


def tree(top, inodes):
    """Directories of thirty, ten of which lie in one."""
    made, number = 1, 0
    while made < inodes:
        directory = f"{top}/{number // 100:03}/{number // 10 % 10}/{number % 10}"
        before = sum(not os.path.isdir(d) for d in (f"{top}/{number // 100:03}", f"{top}/{number // 100:03}/{number // 10 % 10}"))
        os.makedirs(directory)
        file(directory + "/first", 0)
        made += before + 2
        for one in range(min(28, inodes - made)):
            file(f"{directory}/file-{one:02}.py", number * 28 + one)
            made += 1
        number += 1


def flat(top, inodes):
    for number in range(inodes):
        file(f"{top}/session-{number:07}", number if number % 50 != 9 else 1)


def make(root, inodes):
    layers, volumes = 24, 6
    for name in ("containers", "image", "network", "plugins", "swarm", "overlay2/l"):
        os.makedirs(f"{root}/{name}", 0o710)
    for number in range(layers):
        layer = f"{root}/overlay2/{number:064x}"
        os.makedirs(layer + "/diff")
        os.makedirs(layer + "/work/work")
        open(layer + "/link", "w").write("L" * 26)
        tree(layer + "/diff", inodes * 2 // 3 // layers)
    for number in range(volumes):
        data = f"{root}/volumes/v{number}/_data"
        os.makedirs(data)
        os.chmod(f"{root}/volumes/v{number}", 0o701)
        (flat if number == 0 else tree)(data, inodes // 3 // volumes)


def specials(root):
    for directory, _, names in os.walk(root):
        for name in names:
            path = f"{directory}/{name}"
            if name.startswith("session-"):
                special(path, int(name[8:]))
            elif name.startswith("file-") and not os.path.islink(path):
                words = directory.split("/")
                special(path, int("".join(words[-3:])) * 28 + int(name[5:7]))


if __name__ == "__main__":
    os.umask(0o022)
    {"make": lambda: make(sys.argv[2], int(sys.argv[3])), "specials": lambda: specials(sys.argv[2])}[sys.argv[1]]()
