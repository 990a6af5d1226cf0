"""The steps by which a container's first process becomes somebody: names, limits, user, rights.

Law: steps like those of `cgmgr.runtime.steps`, for what belongs to a process and its namespaces
rather than to files.  Their order matters and is decided in `cgmgr.runtime.compile`.
"""

from __future__ import annotations

import errno
import os
import resource

from cgmgr import linux

from . import capabilities, namespaces
from .steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .steps import Stage

#: process.rlimits[].type of config.json, in the order of asm-generic/resource.h
RLIMITS: Final = (
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
)
#: the least and the most that may be written (proc_pid_oom_score_adj(5))
OOM_SCORES: Final = (-1000, 1000)


def above_hard(soft: int, hard: int) -> bool:
    """Whether a soft resource limit is above its hard one, which setrlimit(2) refuses; -1 is no
    limit."""
    return hard != -1 and (soft == -1 or soft > hard)


class Hostname(Step):
    """The UTS namespace's names."""

    hostname: str = ""
    domainname: str = ""

    def describe(self) -> str:
        domain = f" && domainname {self.domainname}" if self.domainname else ""
        return f"hostname {self.hostname}{domain}"

    def execute(self, stage: Stage) -> None:
        if self.hostname:
            linux.sethostname(self.hostname)
        if self.domainname:
            linux.setdomainname(self.domainname)


class LoopbackUp(Step):
    """A network namespace's `lo`, which is down at first."""

    def describe(self) -> str:
        return "ip link set lo up"

    def execute(self, stage: Stage) -> None:
        namespaces.loopback_up()


class OomScore(Step):
    """How readily the kernel kills this process, one of `OOM_SCORES`."""

    value: int

    def describe(self) -> str:
        return f"write {self.value} > /proc/self/oom_score_adj"

    def execute(self, stage: Stage) -> None:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(self.value).encode())
        finally:
            os.close(fd)


class Rlimit(Step):
    """A resource limit (getrlimit(2)); -1 is no limit."""

    name: str
    soft: int
    hard: int

    def describe(self) -> str:
        return f"prlimit --{self.name.lower()}={self.soft}:{self.hard}"

    def execute(self, stage: Stage) -> None:
        try:
            resource.setrlimit(RLIMITS.index(self.name), (self.soft, self.hard))
        except ValueError as error:  # what the module makes of EINVAL and of EPERM
            number = errno.EPERM if "raise" in str(error) else errno.EINVAL
            raise OSError(number, str(error)) from None


class WorkingDirectory(Step):
    """Where the program starts; refused where that is not below the container's "/"."""

    path: str

    def describe(self) -> str:
        return f"cd {self.path}"

    def execute(self, stage: Stage) -> None:
        os.chdir(self.path)
        # getcwd(2) of a directory outside says "(unreachable)/..." (CVE-2024-21626)
        if not os.getcwd().startswith("/"):
            raise OSError(errno.EACCES, "it lies outside the container", self.path)


class BecomeUser(Step):
    """User, groups, umask and capabilities, each while there still is the right to set it.

    What is held here of `until_exec` stays permitted and effective beside the sets, which makes no
    difference to the program: execve(2) gives it what it may have by the other three sets, its user
    and its file, and nothing by these two (capabilities(7)).
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    umask: int = 0o022
    bounding: int = 0
    effective: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0
    no_new_privileges: bool = True
    until_exec: int = 0

    def describe(self) -> str:
        groups = ",".join(str(gid) for gid in self.groups) or "none"
        kept = ",".join(capabilities.names_of(self.permitted)) or "none"
        new = ", no new privileges" if self.no_new_privileges else ""
        more = ",".join(capabilities.names_of(self.until_exec & ~self.permitted))
        until = f" (and {more} until exec)" if more else ""
        return (
            f"become user {self.uid}, group {self.gid}, more groups {groups}, "
            f"umask {self.umask:03o}, capabilities {kept}{until}{new}"
        )

    def execute(self, stage: Stage) -> None:
        capabilities.drop_bounding(self.bounding)
        linux.prctl(linux.PR_SET_KEEPCAPS, 1)
        os.setgroups(list(self.groups))
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        linux.prctl(linux.PR_SET_KEEPCAPS, 0)
        kept = self.until_exec & linux.capget()[1]
        capabilities.apply(
            capabilities.CapabilitySets(
                bounding=self.bounding,
                effective=self.effective | kept,
                permitted=self.permitted | kept,
                inheritable=self.inheritable,
                ambient=self.ambient,
            )
        )
        os.umask(self.umask)
        if self.no_new_privileges:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
