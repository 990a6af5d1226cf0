"""`cgmgr group tree`: groups below groups, what they may use and do use, and who is in them."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from cgmgr.errors import NoSuchGroup
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cgmgr.group import Group
    from cgmgr.manager import Manager

Top = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Only this group and those below it.", show_default=False
    ),
]


class Process(Record):
    """A member as psutil sees it.

    `cpu_percent` is of one CPU, over the process's whole life, as in ps(1); `memory_bytes` is
    resident memory, shared pages included.
    """

    pid: int
    user: str
    cpu_percent: float
    memory_bytes: int
    command: str


class Node(Record):
    """A group of the tree; `name` is its last part below another group."""

    name: str
    about: str
    processes: tuple[Process, ...] = ()
    below: tuple[Node, ...] = ()


def tree(
    name: Top = None,
    processes: Annotated[
        bool, typer.Option("--processes/--no-processes", help="Show who is in each group.")
    ] = True,
) -> None:
    """Groups as a tree: limits and use of each, and its processes with user, CPU and memory."""
    from . import groups, output

    manager = groups.manager()
    width = output.columns()
    for top in _tops(manager, name):
        node = _node(manager, top, top, processes)
        if node is not None:
            print("\n".join(_lines(node, width)))


def _tops(manager: Manager, name: str | None) -> list[str]:
    """The named group, or all that no other group of ours is above."""
    from . import groups

    if name is not None:
        group = manager.open(name)
        group.close()
        return [group.name]
    tops: list[str] = []
    for known in [manager.driver.parent, *groups.known(manager)]:
        if not any(known.startswith(f"{top}/") for top in tops):
            tops.append(known)
    return tops


def _node(manager: Manager, name: str, shown: str, processes: bool) -> Node | None:

    try:
        group = manager.open(name)
    except NoSuchGroup:
        return None
    try:
        about = _about(group)
        members = tuple(_members(group)) if processes else ()
    finally:
        group.close()
    children = (
        _node(manager, child, child.rpartition("/")[2], processes) for child in manager.list(name)
    )
    below = tuple(child for child in children if child is not None)
    return Node(name=shown, about=about, processes=members, below=below)


def _about(group: Group) -> str:
    from . import groups, usage

    now = groups.state(group)
    words = [now] if now not in ("", "thawed") else []
    words += usage.parts(group.stats())
    cpuset = usage.asked(group.resources).get("cpuset")
    return "; ".join([*words, f"on cpus {cpuset}"] if cpuset else words)


def _members(group: Group) -> Iterator[Process]:
    import psutil

    for pid in group.pids():
        with contextlib.suppress(psutil.Error):
            yield _process(pid)


def _process(pid: int) -> Process:
    import time

    import psutil

    process = psutil.Process(pid)
    with process.oneshot():
        times = process.cpu_times()
        age = max(time.time() - process.create_time(), 0.01)
        command = " ".join(process.cmdline()) or f"[{process.name()}]"
        return Process(
            pid=pid,
            user=_user(process.uids().effective),
            cpu_percent=100 * (times.user + times.system) / age,
            memory_bytes=process.memory_info().rss,
            command=command,
        )


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _lines(node: Node, width: int, first: str = "", rest: str = "") -> Iterator[str]:
    from . import output

    yield output.clipped(f"{first}{output.printable(node.name)}", width)
    inner = rest + ("|  " if node.below else "   ")
    if node.about:
        yield from output.wrapped(node.about, width, inner, inner + "  ")
    for process in node.processes:
        yield output.clipped(inner + _shown(process), width)
    for index, child in enumerate(node.below):
        last = index == len(node.below) - 1
        yield from _lines(
            child, width, rest + ("`- " if last else "|- "), rest + ("   " if last else "|  ")
        )


def _shown(process: Process) -> str:
    from cgmgr.units import format_bytes

    from .output import printable

    return (
        f"{process.pid:>7} {process.user:<8} {process.cpu_percent:>5.1f}% "
        f"{format_bytes(process.memory_bytes):>9} {printable(process.command)}"
    )
