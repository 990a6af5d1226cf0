"""Changes and removals of a group that a kill in the middle of them does not leave half done.

Law: what is under way is noted before the first step, under the group's lock, and the note is gone
after the last.  A note that is found under the lock is therefore of somebody who was killed, and
`settle` clears up after them: a group that was being made or removed goes, one that was being
changed gets its old settings back.
"""

from __future__ import annotations

import contextlib
import errno
import time
from functools import partial

from cgmgr import frozen, members
from cgmgr.driver import Request
from cgmgr.errors import (
    CgmgrError,
    GroupBusy,
    GroupGone,
    KernelError,
    NoSuchGroup,
    RequestError,
)
from cgmgr.plan import BY_DRIVER
from cgmgr.record import Record
from cgmgr.resources import DeviceRule, Resources
from cgmgr.rundir import GroupRecord
from cgmgr.statedir import FULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Final

    from cgmgr.group import Group
    from cgmgr.kernfs import Directory
    from cgmgr.plan import Machine, Plan, Was

#: how long what is left of a group may take to go, in seconds
SETTLE_S: Final = 10.0
#: a group without a filter of ours may use every device
EVERY_DEVICE: Final = (DeviceRule(kind="a"),)


def change(group: Group, plan: Plan, machine: Machine, asked: Resources) -> Resources:
    """Execute a plan that changes settings, and remember what was asked for, or neither.

    Returns everything that is asked of the group now.  The caller holds the group's lock.
    """
    from cgmgr.resources.words import words_of

    record = group.rundir.load(group.name)
    resources = _asked_before(group, record).merge(asked)
    known = record if record is not None else _unrecorded(group)
    group.rundir.note(known.replace(before=plan.before(machine)))
    try:
        undo = plan.execute(machine)
        if record is not None:
            try:
                group.rundir.save(record.replace(resources=words_of(resources)))
            except BaseException as error:
                take_back(error, undo)
                raise
    except Exception:
        group.rundir.end(group.name)
        raise
    except BaseException:  # it may have come in the middle of taking back, too
        settle(group)
        raise
    group.rundir.end(group.name)
    return resources


def remove(group: Group, timeout: float, *, kill: bool) -> None:
    """Remove a group with everything below it, and the records of it all.

    Raises as `Group.delete`; the group is then recorded as before.  The caller holds its lock.
    """
    rundir, name = group.rundir, group.name
    if not kill:
        refuse_populated(group)
    # the whole record, renamed, is the note of a removal that may kill: that is cheap
    retracted = kill and rundir.retract(name)
    if not retracted:
        try:
            rundir.note(_unrecorded(group).replace(spare=not kill))
        except KernelError as error:
            if error.errno not in FULL:  # else removing is what makes room
                raise
    try:
        gone = _take_away(group, timeout, kill=kill)
    except Exception:
        if not (retracted and rundir.commit(name)):
            rundir.end(name)
        raise
    group.close()
    if not retracted:
        rundir.delete(name)
    rundir.end(name)
    for below in sorted(gone):
        with rundir.at_once(below) as held:
            if held:  # else somebody keeps a record of nothing, which gc drops
                rundir.delete(below)
                rundir.end(below)


class Settled(Record):
    """What was cleared up: `removed` where the group went, `restored` where old settings were put
    back; `lost`, a line each, is what could not be done: an old value that is not taken any more,
    or a removal without force that would now cost a process its life."""

    removed: bool = False
    restored: bool = False
    lost: tuple[str, ...] = ()


def settle(group: Group) -> Settled:
    """Clear up after whoever was killed in the middle of something with this group; nothing to do
    where nobody was.

    The caller holds the group's lock.  Raises `GroupBusy` and `DeadlineExceeded`, and what is under
    way stays noted, where something cannot be killed.
    """
    rundir, name = group.rundir, group.name
    note = rundir.noted(name)
    if note is None:
        return Settled()
    lost: tuple[str, ...] = ()
    restored = False
    if note.before is None:
        if group.paths:
            if note.spare and (reason := _populated(group)):
                rundir.end(name)
                return Settled(lost=(f"a removal that was cut short was given up: {reason}",))
            _take_away(group, SETTLE_S, kill=not note.spare)
        group.close()
        rundir.delete(name)
    elif rundir.load(name) in (None, note.replace(before=None)):
        # else the new record is there: only the end of the note was missing
        lost = tuple(line for was in note.before if (line := _put_back(group, note, was)))
        restored = True
    rundir.end(name)
    return Settled(removed=note.before is None, restored=restored, lost=lost)


def _populated(group: Group) -> str:
    """Who is in the group or below it, in any hierarchy, in words; "" where nobody is."""
    there = members.everyone(_there(group))
    if not there:
        return ""
    some = "a process" if len(there) == 1 else f"{len(there)} processes"
    return f"group {group.name} holds {some} ({', '.join(str(pid) for pid in there[:5])})"


def refuse_populated(group: Group) -> None:
    """Raise `GroupBusy` where a process is in the group or below it, in any hierarchy."""
    reason = _populated(group)
    if reason:
        raise GroupBusy(
            reason,
            operation="remove group",
            path=group.name,
            errno=errno.EBUSY,
            hint=f"cgmgr group rm -f {group.name}",
        )


def recorded(record: GroupRecord) -> Resources:
    """What was asked for, by a record."""
    if not record.resources:
        return Resources()
    from cgmgr.resources.words import resources_of

    return resources_of(None, None, **record.resources)


def remembered(group: Group) -> Resources:
    """What is asked of a group, by its record, or as far as the group itself knows."""
    return _asked_before(group, group.rundir.load(group.name))


def _asked_before(group: Group, record: GroupRecord | None) -> Resources:
    return group.resources if record is None else recorded(record)


@contextlib.contextmanager
def asking_frozen(group: Group, frozen: bool) -> Generator[None]:
    """Whether a group stands still is asked anew, where it was asked at all; freezing that fails
    leaves the old request.  The caller holds the group's lock, and does it meanwhile."""
    from cgmgr.resources.words import words_of

    if remembered(group).frozen not in (None, frozen):
        # a record that changes would look to whoever settles as if the change was completed
        settle(group)
    record = group.rundir.load(group.name)
    before = _asked_before(group, record)
    if before.frozen in (None, frozen):
        yield
        return
    group.resources = before.replace(frozen=frozen)
    if record is not None:
        group.rundir.save(record.replace(resources=words_of(group.resources)))
    try:
        yield
    except BaseException as error:
        if frozen:  # a thaw that fails has told the kernel all the same
            group.resources = before
            if record is not None:
                take_back(error, partial(group.rundir.save, record))
        raise


def _unrecorded(group: Group) -> GroupRecord:
    return GroupRecord(name=group.name, driver=group.driver.name, paths=group.paths)


def _take_away(group: Group, timeout: float, *, kill: bool) -> set[str]:
    """Remove a group from every hierarchy; returns the names of those below that went with it."""
    # the kernel itself refuses to remove a group with processes, so nobody need look first
    request = Request(group=group.name, removal=True)
    with group.machine() as machine:
        try:
            plan = group.driver.remove(request, group.driver.observe(request))
        except NoSuchGroup:  # somebody else removed it
            return machine.gone
        try:
            plan.execute(machine)
        except GroupBusy:
            if not kill:
                raise
            deadline = time.monotonic() + timeout
            members.kill_all(_there(group), deadline, frozen.way_out(group))
            plan.execute(machine)
    return machine.gone


def _there(group: Group) -> list[Directory]:
    """The directories that still exist: a half removed group can be removed again."""
    found: list[Directory] = []
    for key in sorted(group.paths):
        with contextlib.suppress(GroupGone):
            found.append(group.at(key))
    return found


def _put_back(group: Group, note: GroupRecord, was: Was) -> str:
    """Why one value could not be put back; "" where it was, or there is nothing to put it in."""
    try:
        if was.text == BY_DRIVER:
            _apply(group, _held_before(group, note))
        elif not was.file:
            _put_filter_back(group, recorded(note).devices)
        else:
            with group.host.tree(group.host.by_key(was.key)).open(was.path) as directory:
                directory.write(was.file, was.text)
    except GroupGone:
        return ""
    except CgmgrError as error:
        return "" if error.errno == errno.ENOENT else f"an old value was not put back: {error}"
    return ""


def _put_filter_back(group: Group, rules: tuple[DeviceRule, ...] | None) -> None:
    _apply(group, Resources(devices=EVERY_DEVICE if rules is None else rules))


def _held_before(group: Group, note: GroupRecord) -> Resources:
    """The settings that a change was to change, as the group's files held them."""
    from cgmgr.resources.files import from_files

    texts: dict[str, dict[str, str]] = {}
    for was in note.before or ():
        if was.file:
            texts.setdefault(was.key, {})[was.file] = was.text
    held = Resources()
    for key, files in texts.items():
        with contextlib.suppress(RequestError):  # a file that has a format of its own for writing
            held = held.merge(from_files(group.host.by_key(key).version, files))
    return held


def _apply(group: Group, asked: Resources) -> None:
    request = Request(group=group.name, resources=asked)
    with group.machine() as machine:
        group.driver.update(request, group.driver.observe(request)).execute(machine)


def take_back(error: BaseException, act: Callable[[], None]) -> None:
    """Take back what was done, and say on the error what could not be."""
    try:
        act()
    except CgmgrError as left:
        error.add_note(str(left))
