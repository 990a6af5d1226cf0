"""`exec`: a program more in a container that runs.

Law: from the words, or from a process of the specification, to that process as it is started; how
it enters is `cgmgr.runtime.joining`'s.

Source: runc exec(8); "process" of the OCI runtime specification.
"""

from __future__ import annotations

import errno
import os

from cgmgr import linux
from cgmgr.errors import KernelError, RequestError
from cgmgr.record import Record
from cgmgr.resources.document import Node
from cgmgr.runtime import compile, launcher, namespaces
from cgmgr.runtime.joining import Join

from . import living
from .home import PAUSED, RUNNING
from .making import parsed, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from cgmgr.runtime.launcher import Init

    from .home import Home

_ALL_SETS: Final = ("bounding", "effective", "permitted", "inheritable", "ambient")
#: of a process that somebody else described, these may be missing
_USUAL: Final = {"cwd": "/"}


class ExecOrder(Record):
    """What `exec` is asked for; a `process` is the path of a file, and says all of the rest."""

    name: str
    argv: tuple[str, ...] = ()
    process: str = ""
    cwd: str = ""
    env: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    terminal: bool = False
    no_new_privileges: bool = False
    ignore_paused: bool = False
    kept_fds: int = 0


def enter(order: ExecOrder, home: Home, say: Callable[[str], None]) -> Init:
    """Have a process enter the container, all but executing its program; `start` it.  `say` is told
    each step."""
    record = home.need(order.name)
    with living.process(record.init) as pidfd:
        status = home.status(record)
        if record.init is None or pidfd < 0 or status not in (RUNNING, PAUSED):
            # what containerd and moby look for
            raise living.refused("exec in", order.name, status, "container not running")
        if status == PAUSED and not order.ignore_paused:
            raise living.refused("exec in", order.name, status, "cannot exec in a paused container")
        config = home.config(order.name)
        document = described(order, config)
        flags = differing(record.init.pid)
        group = living.group_of(record, home)
        if group is None:
            raise KernelError(
                f"container {order.name} has no group any more",
                operation="exec in container",
                value=order.name,
                errno=errno.ENOENT,
            )
        joined = flags & ~linux.CLONE_NEWPID
        entry = Join(fd=pidfd, flags=joined)
        setup = compile.compile_process(document, entry, config, record.bundle)
        for number, line in enumerate(setup.describe(), 1):
            say(f"{number}. {line}")
        with group.placement() as place:
            launch = launcher.Launch(
                host=group.host,
                placement=place,
                run_root=home.root,
                id=order.name,
                kept_fds=order.kept_fds,
                entered=pidfd,
                in_its_pids=bool(flags & linux.CLONE_NEWPID),
            )
            return launcher.create(setup, launch)


def wants_terminal(order: ExecOrder, home: Home) -> bool:
    """Whether the process is to have one."""
    home.need(order.name)
    return bool(described(order, home.config(order.name)).get("terminal"))


def differing(pid: int) -> int:
    """The namespaces (CLONE_NEW*) that a process is in and this one is not."""
    flags = 0
    for one in namespaces.TABLE:
        name = one.proc.removesuffix("_for_children")
        try:
            theirs, ours = (os.stat(f"/proc/{who}/ns/{name}") for who in (str(pid), "self"))
        except FileNotFoundError:  # a kernel without them
            continue
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            flags |= one.flag
    return flags


def described(order: ExecOrder, config: Mapping[str, Any]) -> dict[str, Any]:
    """The process that is asked for, as the specification describes one: a file's, or the
    container's own with other words."""
    if order.process:
        return _USUAL | _from_file(order.process)
    own: Mapping[str, Any] = config.get("process") or {}
    made: dict[str, Any] = {key: value for key, value in own.items() if key != "consoleSize"}
    made |= {"args": list(order.argv), "terminal": order.terminal}
    made["cwd"] = order.cwd or own.get("cwd") or "/"
    made["env"] = [*(own.get("env") or ()), *order.env]
    if order.user or order.groups:
        made["user"] = _user(order, own.get("user") or {})
    if order.no_new_privileges:
        made["noNewPrivileges"] = True
    if order.capabilities:
        sets = Node(own, "process").node("capabilities")
        made["capabilities"] = {
            name: sorted({*sets.texts(name), *order.capabilities}) for name in _ALL_SETS
        }
    return made


def _from_file(path: str) -> dict[str, Any]:
    return parsed(read(path), path)


def _user(order: ExecOrder, own: Mapping[str, Any]) -> dict[str, Any]:
    user = dict(own)
    if order.user:
        uid, colon, gid = order.user.partition(":")
        user["uid"] = _number(uid, "user")
        user["gid"] = _number(gid, "group") if colon else 0
    if order.groups:
        more = [_number(gid, "group") for gid in order.groups]
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *more]
    return user


def _number(text: str, what: str) -> int:
    if not text.isdigit():
        raise RequestError(
            f"invalid {what} {text!r}: exec takes numbers", operation="exec", value=text
        )
    return int(text)
