"""Clearing up after processes that were killed: what `cgmgr gc` does to groups.

Law: finds what nobody is at work with any more, by records and notes, and takes each under its
lock, where it looks again.  How one group goes, or gets its old settings back, is
`cgmgr.unfinished`'s.
"""

from __future__ import annotations

from cgmgr import parents, unfinished
from cgmgr.errors import CgmgrError
from cgmgr.kernfs import join
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cgmgr.manager import Manager
    from cgmgr.rundir import GroupRecord


class Collected(Record):
    """What `gc` removed, which groups got their old settings back, what it could not do, with the
    reason, and the damaged records it dropped."""

    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    swept: tuple[str, ...] = ()


def collect(manager: Manager) -> Collected:
    """See `Manager.gc`."""
    removed: list[str] = []
    restored: list[str] = []
    failed: list[tuple[str, str]] = []
    for note in manager.rundir.cut_short():
        try:
            lost = settle(manager, note.name)
        except CgmgrError as error:
            failed.append((note.name, str(error)))
            continue
        if lost is None:
            continue
        failed += [(note.name, line) for line in lost]
        if note.before is not None:
            restored.append(note.name)
        elif not lost:
            removed.append(note.name)
    for record in orphans(manager):
        try:
            if _collect_one(manager, record.name):
                removed.append(record.name)
        except CgmgrError as error:
            failed.append((record.name, str(error)))
    for record in manager.rundir.records():
        if record.implicit:
            driver = manager.driver_of(record.driver)
            parents.prune(driver, manager.rundir, join(record.name, "any"))
    return Collected(
        removed=tuple(removed),
        restored=tuple(restored),
        failed=tuple(failed),
        swept=tuple(manager.rundir.sweep()),
    )


def settle(manager: Manager, name: str) -> tuple[str, ...] | None:
    """Clear up after whoever was killed in the middle of making, changing or removing a group.

    Returns what could not be done, a line each; None where there was nothing to do, or somebody
    is at work with it.
    """
    if manager.rundir.noted(name) is None:
        return None
    with manager.rundir.at_once(name) as held:
        note = manager.rundir.noted(name) if held else None
        if note is None:
            return None
        group = manager.group_of(note)
        lost = unfinished.settle(group).lost
    parents.prune(group.driver, manager.rundir, name)
    return lost


def orphans(manager: Manager) -> Iterator[GroupRecord]:
    """The records of groups that outlived their owner, or that somebody else removed."""
    for record in manager.rundir.records():
        if not record.implicit and (record.orphaned or _vanished(manager, record)):
            yield record


def _collect_one(manager: Manager, name: str) -> bool:
    """Whether it was still an orphan: since it was listed, somebody else may have collected it, and
    made another of that name."""
    with manager.rundir.at_once(name) as held:
        record = manager.rundir.load(name) if held else None
        if record is None or not (record.orphaned or _vanished(manager, record)):
            return False
        group = manager.group_of(record)
        if group.paths:
            unfinished.remove(group, unfinished.SETTLE_S, kill=True)
        else:
            manager.rundir.delete(name)
        return True


def _vanished(manager: Manager, record: GroupRecord) -> bool:
    """Whether somebody removed the group, and left us its record."""
    return not manager.driver_of(record.driver).paths(record.name)
