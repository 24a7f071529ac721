"""The same ten tasks for pyinfra."""

import io

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.facts.server import Kernel, KernelVersion
from pyinfra.operations import files, python, server

root = host.data.root
start = host.data.start

files.directory(name="Directory", path=f"{root}/etc/docker", mode="755")
server.shell(name="Command", commands=["uname -r"])
assert host.get_fact(Kernel) == "Linux" and host.get_fact(KernelVersion) >= "3.8"
files.template(
    name="Template", src="templates/pyinfra.j2", dest=f"{root}/etc/docker/daemon.json", mode="644", hostname=host.name
)
for which in ("subuid", "subgid"):
    files.put(
        name=f"Copy {which}",
        src=io.StringIO(f"dockremap:{start}:65536\n"),
        dest=f"{root}/etc/{which}",
        mode="644",
    )
files.line(name="Line", path=f"{root}/etc/sysctl.conf", line="user.max_user_namespaces = 15000")


def check() -> None:
    if not host.get_fact(File, path=f"{root}/etc/docker/daemon.json"):
        raise SystemExit("no daemon.json")


python.call(name="Fail without it", function=check)
server.shell(
    name="Shell",
    commands=[f"grep -c dockremap {root}/etc/subuid {root}/etc/subgid > {root}/etc/count && cat {root}/etc/count"],
)
