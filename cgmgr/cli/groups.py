"""Finding groups for commands, and saying what a change to them would be.

Law: names to groups.  A command asks here for its manager, so that which driver and which records
it works with is decided once.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr.errors import CgmgrError, GroupGone, NoSuchGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import TypeVar

    from cgmgr.group import Group
    from cgmgr.manager import Manager
    from cgmgr.report import Foretold, Report

    T = TypeVar("T")


def manager(driver: str = "auto") -> Manager:
    """The manager of this host's groups."""
    from cgmgr.manager import Manager

    from . import interruption

    interruption.carefully()
    return Manager(driver=driver)


def sweep(manager: Manager) -> None:
    """Remove what killed commands left behind; what cannot be is for `cgmgr gc` to tell."""
    with contextlib.suppress(CgmgrError):
        collect(manager)


def collect(manager: Manager) -> tuple[list[str], list[tuple[str, str]]]:
    """Clear up after killed commands: what was done, and what could not be, and why."""
    from cgmgr.runtime.bundle import DEFAULT_STORE
    from cgmgr.runtime.collect import collect as collect_containers
    from cgmgr.runtime.state import Containers

    # groups first: their processes hold the containers' directories
    groups = manager.gc()
    done = [f"removed group {name}" for name in groups.removed]
    done += [f"put back the settings of group {name}" for name in groups.restored]
    done += [f"removed record {line}" for line in groups.swept]
    failed = [(f"group {name}", reason) for name, reason in groups.failed]
    if os.geteuid() != 0:  # whoever is not root has no containers
        return done, failed
    try:
        containers = collect_containers(Containers(manager.rundir.root), DEFAULT_STORE)
        done += [f"removed container {name}" for name in containers]
    except CgmgrError as error:
        failed.append(("containers", str(error)))
    return done, failed


def foreseen(manager: Manager) -> list[str]:
    """What `collect` would do."""
    from cgmgr.runtime.state import Containers

    containers = Containers(manager.rundir.root).records()
    return [
        *(f"remove group {name}" for name in manager.orphans()),
        *(f"put back the settings of group {name}" for name in manager.half_changed()),
        *(f"remove container {record.id}" for record in containers if record.orphaned),
    ]


def find(manager: Manager, name: str) -> Group:
    """The group of that name, or that of the container of that name.  Raises `NoSuchGroup`."""
    try:
        return manager.open(name)
    except NoSuchGroup:
        path = None if "/" in name else _of_container(manager, name)
        if path is None:
            raise
        return manager.open(path)


def _of_container(manager: Manager, name: str) -> str | None:
    from json import load

    from cgmgr.runtime.bundle import CONFIG
    from cgmgr.runtime.state import Containers

    record = Containers(manager.rundir.root).load(name)
    if record is None:
        return None
    try:
        with open(f"{record.bundle}/{CONFIG}", encoding="utf-8") as file:
            return str(load(file)["linux"]["cgroupsPath"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextlib.contextmanager
def opened(name: str, where: Manager | None = None, *, warn: bool = True) -> Generator[Group]:
    """The group, or container's group, of that name, for as long as a command looks at it.  It is
    told that it is half of something, with `warn`: a command that clears that up tells what it did.
    """
    group = find(where if where is not None else manager(), name)
    try:
        if warn:
            _warn(group)
        yield group
    finally:
        group.close()


def _warn(group: Group) -> None:
    """Say of a group that it is half of something, and only that: a command may just look."""
    from .failing import complain

    for note in group.rundir.cut_short():
        if note.name == group.name:
            what = "made or removed" if note.before is None else "changed"
            complain(
                f"cgmgr: note: group {group.name} was being {what} by a process that was killed\n"
                "hint: cgmgr gc"
            )


def below(manager: Manager, name: str) -> Iterator[str]:
    """The group's name and those of all groups below it, a group before those below it."""
    yield name
    for child in manager.list(name):
        yield from below(manager, child)


def known(manager: Manager) -> list[str]:
    """The groups of ours: all below the default parent, and the recorded ones elsewhere; sorted."""
    top = manager.driver.parent
    names = {name for name in below(manager, top) if name != top}
    names.update(record.name for record in manager.rundir.records() if not record.implicit)
    return sorted(names)


def look(manager: Manager, names: list[str], see: Callable[[Group], T]) -> list[T]:
    """What `see` says of each of the groups that still exist."""
    seen: list[T] = []
    for name in names:
        try:
            group = manager.open(name)
        except NoSuchGroup:
            continue
        try:
            seen.append(see(group))
        except GroupGone:
            continue
        finally:
            group.close()
    return seen


def state(group: Group) -> str:
    """Frozen or not; "" where this host has no freezer."""
    try:
        return group.state
    except GroupGone:
        raise
    except CgmgrError:
        return ""


def foretell(foretold: Foretold, texts: Sequence[str]) -> None:
    """What a change would do, on standard output; `texts` are what was typed."""
    from . import settings

    for error in foretold.refused:
        settings.reworded(error, texts)
    for line in foretold.said():
        print(line)


def tell(report: Report, texts: Sequence[str] = ()) -> None:
    """What came of a change otherwise than it was asked, on standard error; `texts` are what was
    typed."""
    from . import settings
    from .failing import complain

    for effect in report.effects:
        complain(f"cgmgr: note: {effect.path} holds {effect.held}, asked was {effect.asked}")
    if report.restored:
        complain(
            "cgmgr: note: a process was killed in the middle of changing this group: its old "
            "settings were put back first"
        )
    for line in report.lost:
        complain(f"cgmgr: note: {line}")
    for error in report.refused:
        settings.reworded(error, texts)
        complain(f"cgmgr: not held: {error}")


def removal(group: Group) -> list[str]:
    """The lines of what removing a group would do, the end of its processes included."""
    from cgmgr import rights
    from cgmgr.driver import Request

    rights.demand(group.host)
    request = Request(group=group.name, removal=True)
    steps = group.driver.remove(request, group.driver.observe(request)).describe(group.machine())
    return [*(f"kill -KILL {pid}" for pid in group.pids(recursive=True)), *steps]
