"""The steps by which a process enters what there is: a container, or single namespaces.

Law: who enters, and which namespaces those are, is decided elsewhere.  A pid namespace is entered
by the spawner, before the process is cloned (`SpawnRequest.pid_namespace`), because it counts for
children only (setns(2)).

The container is known by a pidfd that was opened before it was made sure whose it is, so that no
process of a reused pid is ever joined; and the process is not dumpable, so that nobody in there may
trace it while it still holds what is the host's (CVE-2016-9962).
"""

from __future__ import annotations

import fcntl
import os

from cgmgr import linux
from cgmgr.errors import RequestError, kernel_error

from . import namespaces
from .root import Root
from .steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .steps import Stage

NS_GET_NSTYPE: Final = 0xB703  # linux/nsfs.h


def opened(name: str, path: str) -> int:
    """A descriptor of a namespace.  Raises `RequestError` for one of another kind, and
    `KernelError`."""
    kind = namespaces.named(name).flag
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise kernel_error(f"join the {name} namespace", path, error) from error
    try:
        found = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:  # ENOTTY: it is a file of another kind
        found = 0
    if found != kind:
        os.close(fd)
        raise RequestError(
            f"{path} is no {name} namespace", operation=f"join the {name} namespace", path=path
        )
    return fd


class Enter(Step):
    """Enter one namespace, by its open descriptor."""

    fd: int
    name: str

    def describe(self) -> str:
        return f"enter the {self.name} namespace"

    def execute(self, stage: Stage) -> None:
        linux.setns(self.fd, namespaces.named(self.name).flag)
        os.close(self.fd)


class Join(Step):
    """Enter namespaces of a process: `fd` is its pidfd, `flags` which (CLONE_NEW*)."""

    fd: int
    flags: int

    def describe(self) -> str:
        joined = [n.name for n in namespaces.TABLE if n.flag & self.flags]
        return f"enter the namespaces of the container: {', '.join(joined)}"

    def execute(self, stage: Stage) -> None:
        linux.setns(self.fd, self.flags)
        os.close(self.fd)
        # joining a mount namespace moved root and working directory to its own
        stage.root = Root(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
