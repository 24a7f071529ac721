"""Write the same hosts for every tool: argv is hosts, port, user, work directory, host public key."""

import sys

count, port, user, work, hostkey = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5]
names = [(f"h{i + 1}", f"127.0.{i // 200 + 1}.{i % 200 + 1}") for i in range(count)]


def write(name, text):
    with open(f"{work}/{name}", "w", encoding="utf-8") as file:
        file.write(text)


lines = ["all:", "  vars:"]
lines += [f"    ansible_port: {port}", f"    ansible_user: {user}", f"    ansible_ssh_private_key_file: {work}/key"]
lines += ["    ansible_python_interpreter: /usr/bin/python3", "    start: 100000", "  hosts:"]
for name, address in names:
    lines.append(f"    {name}: {{ansible_host: {address}, root: {work}/hosts/{name}, rollgate_state_dir: {work}/hosts/{name}/agent}}")
write("inventory.yml", "\n".join(lines) + "\n")

write(
    "pyinfra_inventory.py",
    "hosts = [\n"
    + "".join(
        f"    ({name!r}, dict(ssh_hostname={address!r}, ssh_port={port}, ssh_user={user!r}, "
        f"ssh_key={work + '/key'!r}, ssh_known_hosts_file={work + '/known_hosts'!r}, "
        f"root={work + '/hosts/' + name!r}, start=100000)),\n"
        for name, address in names
    )
    + "]\n",
)
write("floor.hosts", "".join(f"{name} {address} {work}/hosts/{name} 100000\n" for name, address in names))
key = " ".join(hostkey.split()[:2])
write("known_hosts", "".join(f"[{address}]:{port} {key}\n" for _, address in names))
