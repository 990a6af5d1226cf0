"""The v1 device filter as the kernel keeps it, and the least writes from one state to another.

Law: pure.  `Table` is what security/device_cgroup.c calls a dev_cgroup: a default and the
exceptions from it; `written` is what one write makes of it, with the kernel's errnos.  A task's
request is let through under a default of deny when one exception covers all of it, under a default
of allow when no exception touches it.

The kernel takes every rule and silently does nothing with some: a deny that would make a hole in a
wildcard ("allow c *:*, deny c 1:3") and its mirror image.  `target` refuses those, so that what is
written is what holds.
"""

from __future__ import annotations

import errno
import os

from cgmgr.errors import RequestError
from cgmgr.record import Record
from cgmgr.resources import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    #: kind, major, minor; None is every number
    Key = tuple[str, int | None, int | None]

ALLOW: Final = "devices.allow"
DENY: Final = "devices.deny"
LETTERS: Final = "rwm"
EVERYTHING: Final = DeviceRule(kind="a")
_READ_WRITE: Final = frozenset("rw")


class Table(Record):
    """The default, and the accesses by device that are excepted from it."""

    allow: bool = True
    exceptions: Mapping[Key, frozenset[str]] = {}

    def __str__(self) -> str:
        """As devices.list prints it, which says nothing of what a default of allow denies."""
        return str(EVERYTHING) if self.allow else "\n".join(map(str, self.rules()))

    def rules(self) -> list[DeviceRule]:
        """The exceptions as rules."""
        return [_rule(key, access, not self.allow) for key, access in self.exceptions.items()]

    def permits(self, key: Key, access: Iterable[str]) -> bool:
        """Whether a task may: `key` names one device (devcgroup_check_permission)."""
        if self.allow:
            return not self.touched(key, frozenset(access))
        return self.covered(key, frozenset(access))

    def covered(self, key: Key, access: frozenset[str]) -> bool:
        """match_exception: one exception names the device and has every letter."""
        return any(_covers(k, key) and access <= a for k, a in self.exceptions.items())

    def touched(self, key: Key, access: frozenset[str]) -> bool:
        """match_exception_partial: one exception meets the device and has one letter."""
        return any(_meet(k, key) and access & a for k, a in self.exceptions.items())


def parse_list(text: str) -> Table:
    """devices.list.  Raises `ValueError` for a line that it never prints."""
    exceptions: dict[Key, frozenset[str]] = {}
    for line in text.splitlines():
        kind, numbers, access = line.split()
        if kind == "a":
            return Table()
        major, minor = numbers.split(":")
        key = (kind, _number(major), _number(minor))
        exceptions[key] = exceptions.get(key, frozenset()) | frozenset(access)
    return Table(allow=False, exceptions=exceptions)


def written(table: Table, parent: Table | None, file: str, rule: DeviceRule) -> Table:
    """The table after one write (devcgroup_update_access), for a group without groups below.

    `parent` is None for the root.  Raises `OSError` with EPERM where the kernel does.
    """
    if rule.kind == "a":
        if file == DENY:
            return Table(allow=False)
        if parent is not None and not parent.allow:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return Table() if parent is None else parent
    key, access = _key(rule), frozenset(rule.access)
    adds = (file == ALLOW) != table.allow
    if file == ALLOW and parent is not None and not _parent_permits(table, parent, key, access):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    held = table.exceptions.get(key, frozenset())
    left = held | access if adds else held - access
    exceptions = {k: a for k, a in table.exceptions.items() if k != key or left}
    if left:
        exceptions[key] = left
    return table.replace(exceptions=exceptions)


def granted(parent: Table, rule: DeviceRule) -> bool:
    """Whether a group under a default of deny may be allowed this (verify_new_ex)."""
    return _parent_permits(Table(allow=False), parent, _key(rule), frozenset(rule.access))


def _parent_permits(table: Table, parent: Table, key: Key, access: frozenset[str]) -> bool:
    if table.allow:  # parent_allows_removal: not what the parent itself denies
        return not parent.touched(key, access)
    return parent.permits(key, access)


def target(rules: Iterable[DeviceRule]) -> Table:
    """What a list of rules asks for, over a default of deny; a later rule changes an earlier one.

    Raises `RequestError` for what no table of exceptions can say.
    """
    table = Table(allow=False)
    for rule in rules:
        if rule.kind == "a":
            table = Table(allow=rule.allow)
        elif rule.allow != table.allow:
            table = _joined(table, rule)
        else:
            table = _without(table, rule)
    return table if table.allow else _whole(table)


def _joined(table: Table, rule: DeviceRule) -> Table:
    """With one exception more."""
    key = _key(rule)
    access = table.exceptions.get(key, frozenset()) | frozenset(rule.access)
    return table.replace(exceptions={**table.exceptions, key: access})


def _whole(table: Table) -> Table:
    """The same, where the kernel wants one exception to cover a request: an open for reading and
    writing is covered neither by `c 1:3 r` nor by `c 1:* w`."""
    exceptions = dict(table.exceptions)
    halves = [k for k, a in exceptions.items() if len(a & _READ_WRITE) == 1]
    for one in halves:
        for other in halves:
            both, access = _meeting(one, other), exceptions[one] | exceptions[other]
            if (
                both
                and access >= _READ_WRITE
                and not table.replace(exceptions=exceptions).permits(both, _READ_WRITE)
            ):
                exceptions[both] = exceptions.get(both, frozenset()) | access
    return table.replace(exceptions=exceptions)


def _without(table: Table, rule: DeviceRule) -> Table:
    """With less excepted, where that leaves no hole in a wildcard."""
    key, access = _key(rule), frozenset(rule.access)
    exceptions: dict[Key, frozenset[str]] = {}
    for held, letters in table.exceptions.items():
        if _covers(key, held):
            letters -= access
        elif _meet(key, held) and letters & access:
            verb, other = ("allow", "denied") if rule.allow else ("deny", "allowed")
            raise RequestError(
                f"devices: {verb} {rule} would make a hole in what is {other} by "
                f"{_rule(held, letters, not rule.allow)}, which cgroup v1 cannot hold: "
                "name the devices one by one instead of by *",
                operation="set devices",
                value=str(rule),
            )
        if letters:
            exceptions[held] = letters
    return table.replace(exceptions=exceptions)


def transition(now: Table, wanted: Table, *, exact: bool) -> list[tuple[str, DeviceRule]]:
    """The writes from one table to another, as (file, rule); what is added comes before what is
    taken away, so that nothing that both have is ever denied.

    A change of the default denies, or allows, everything for a moment: there is no other way.
    `exact` says that the exceptions of `now` are known: devices.list shows none of those from a
    default of allow, so that getting rid of them takes a new default.
    """
    steps: list[tuple[str, DeviceRule]] = []
    held = dict(now.exceptions)
    add, take = (DENY, ALLOW) if wanted.allow else (ALLOW, DENY)
    if now.allow != wanted.allow or (now.allow and not exact):
        steps.append((ALLOW if wanted.allow else DENY, EVERYTHING))
        held = {}
    for key, access in wanted.exceptions.items():
        missing = access - held.get(key, frozenset())
        if missing:
            steps.append((add, _rule(key, missing, not wanted.allow)))
    for key, access in held.items():
        extra = access - wanted.exceptions.get(key, frozenset())
        if extra:
            steps.append((take, _rule(key, extra, wanted.allow)))
    return steps


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)


def _key(rule: DeviceRule) -> Key:
    return rule.kind, rule.major, rule.minor


def _rule(key: Key, access: Iterable[str], allow: bool) -> DeviceRule:
    kind, major, minor = key
    letters = "".join(letter for letter in LETTERS if letter in frozenset(access))
    return DeviceRule(kind=kind, major=major, minor=minor, access=letters, allow=allow)


def _covers(wide: Key, narrow: Key) -> bool:
    return wide[0] == narrow[0] and all(
        w in (None, n) for w, n in zip(wide[1:], narrow[1:], strict=True)
    )


def _meet(one: Key, other: Key) -> bool:
    return _meeting(one, other) is not None


def _meeting(one: Key, other: Key) -> Key | None:
    """The devices that both name."""
    (kind, *mine), (other_kind, *theirs) = one, other
    if kind != other_kind or any(
        None not in (a, b) and a != b for a, b in zip(mine, theirs, strict=True)
    ):
        return None
    major, minor = (b if a is None else a for a, b in zip(mine, theirs, strict=True))
    return kind, major, minor
