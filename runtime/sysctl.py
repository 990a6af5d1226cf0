"""Kernel settings of a container's own namespaces: which there are, and the step that sets one.

Law: a setting that is not of a namespace would be the whole machine's, and is refused.  It is
written through a procfs that the step mounts for itself and shows nobody, so that no mount and no
link of the container's can have it written elsewhere (CVE-2025-52881).

Source: config-linux.md "Sysctl" of the OCI runtime specification; runc's configs/validate/sysctl;
ipc_namespaces(7), network_namespaces(7), uts_namespaces(7).
"""

from __future__ import annotations

import os

from cgmgr import linux

from . import mounts
from .layout import refused
from .steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Final

    from cgmgr.resources.document import Node

    from .steps import Stage

#: setting, or the beginning of one that ends with a dot -> the namespace that has it
NAMESPACES: Final = {
    "fs.mqueue.": "ipc",
    "kernel.domainname": "uts",
    "kernel.hostname": "uts",
    "kernel.msgmax": "ipc",
    "kernel.msgmnb": "ipc",
    "kernel.msgmni": "ipc",
    "kernel.sem": "ipc",
    "kernel.shm_rmid_forced": "ipc",
    "kernel.shmall": "ipc",
    "kernel.shmmax": "ipc",
    "kernel.shmmni": "ipc",
    "net.": "network",
    "user.": "user",
}
_RESOLVE: Final = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_XDEV | linux.RESOLVE_NO_SYMLINKS


class Sysctl(Step):
    """Set one."""

    name: str
    value: str

    def describe(self) -> str:
        return f"sysctl -w {self.name}={self.value}"

    def execute(self, stage: Stage) -> None:
        proc = mounts.new("proc", "proc", mounts.parse(("nosuid", "nodev", "noexec")))
        try:
            file = linux.openat2(proc, f"sys/{path_of(self.name)}", os.O_WRONLY, _RESOLVE)
            try:
                os.write(file, self.value.encode())
            finally:
                os.close(file)
        finally:
            os.close(proc)


def path_of(name: str) -> str:
    """The path below /proc/sys.  Whichever of "." and "/" comes first separates, and the other one
    stands for itself (sysctl(8): "net.ipv4.conf.eth0/1.forwarding")."""
    first = next((letter for letter in name if letter in "./"), ".")
    if first == "/":
        return name
    return name.translate(str.maketrans("./", "/."))


def steps(config: Node, own: Container[str]) -> Iterator[Step]:
    """The steps for linux.sysctl; `own` are the namespaces that are not the host's.  Raises
    `RequestError`."""
    asked = config.node("sysctl")
    for name in sorted(asked.keys()):
        value = asked.text(name) or ""
        plain = path_of(name).replace("/", ".")
        namespace = next((of for known, of in NAMESPACES.items() if _is(plain, known)), None)
        parts = path_of(name).split("/")
        if namespace is None or not all(parts) or {".", ".."} & set(parts):
            raise refused(asked.at(name), "it is no setting of a namespace")
        if namespace not in own:
            raise refused(asked.at(name), f"it needs a {namespace} namespace of its own")
        yield Sysctl(name=name, value=value)


def _is(name: str, known: str) -> bool:
    return name.startswith(known) if known.endswith(".") else name == known
