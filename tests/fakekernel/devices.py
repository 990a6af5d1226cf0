"""The v1 device filter (security/device_cgroup.c): what devices.allow and devices.deny make of it.

Law: only the filter of the devices hierarchy.  The kernel keeps a default and a list of
exceptions to it; `devices.list` shows the exceptions where the default is to deny, and "a *:* rwm"
whatever the exceptions are where it is to allow.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .group import Group

ANY = None
#: as the kernel reads it: one white space each, at most three letters, the rest unseen
_RULE = re.compile(r"([bc])\s(\*|\d{1,11}):(\*|\d{1,11})\s([rwm]{3}|[rwm]{1,2}$)", re.ASCII)
_LINE = re.compile(r"([abc]) (\*|\d+):(\*|\d+) (\w*)")


class Rule(NamedTuple):
    """One exception; major and minor None are any."""

    kind: str
    major: int | None
    minor: int | None
    access: frozenset[str]

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        return self.kind, self.major, self.minor

    def __str__(self) -> str:
        major, minor = ("*" if n is ANY else str(n) for n in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {''.join(c for c in 'rwm' if c in self.access)}"


class Filter:
    """One group's filter: `allow` is the default, `rules` the exceptions to it."""

    def __init__(self, allow: bool, rules: list[Rule]) -> None:
        self.allow = allow
        self.rules = rules

    def add(self, rule: Rule) -> None:
        """dev_exception_add: more access for a device that has an exception already."""
        for at, old in enumerate(self.rules):
            if old.key == rule.key:
                self.rules[at] = old._replace(access=old.access | rule.access)
                return
        self.rules.append(rule)

    def remove(self, rule: Rule) -> None:
        """dev_exception_rm: only from the exception for the very same numbers."""
        left = [
            old._replace(access=old.access - rule.access) if old.key == rule.key else old
            for old in self.rules
        ]
        self.rules = [old for old in left if old.access]

    def contains(self, rule: Rule) -> bool:
        """match_exception: one exception covers all of it."""
        return any(
            old.kind == rule.kind
            and old.major in (ANY, rule.major)
            and old.minor in (ANY, rule.minor)
            and rule.access <= old.access
            for old in self.rules
        )

    def touches(self, rule: Rule) -> bool:
        """match_exception_partial: some exception has something in common with it."""
        return any(
            old.kind == rule.kind
            and (ANY in (old.major, rule.major) or old.major == rule.major)
            and (ANY in (old.minor, rule.minor) or old.minor == rule.minor)
            and old.access & rule.access
            for old in self.rules
        )

    def permits(self, child: Filter, rule: Rule) -> bool:
        """verify_new_ex: whether a child may have this exception."""
        if not self.allow:
            return self.contains(rule)
        return child.allow or not self.touches(rule)

    def __str__(self) -> str:
        if self.allow:
            return "a *:* rwm"
        return "\n".join(map(str, self.rules))


def of(group: Group) -> Filter:
    """A group's filter, taken from its devices.list at first sight."""
    filters = group.kernel.filters
    if group.path not in filters:
        lines = [_LINE.fullmatch(line) for line in group.get("devices.list").splitlines()]
        rules = [
            Rule(m[1], _number(m[2]), _number(m[3]), frozenset(m[4]))
            for m in lines
            if m is not None
        ]
        allow = any(rule.kind == "a" for rule in rules)
        filters[group.path] = Filter(allow, [rule for rule in rules if rule.kind != "a"])
    return filters[group.path]


def inherit(group: Group, parent: Group) -> None:
    """devcgroup_online: a new group has its parent's filter."""
    above = of(parent)
    group.kernel.filters[group.path] = Filter(above.allow, list(above.rules))
    group.put("devices.list", str(above))


def write(group: Group, verb: str, value: str) -> None:
    """devcgroup_update_access for `verb` "allow" or "deny"."""
    if value[:1] == "a":
        _write_all(group, verb)
    else:
        match = _RULE.match(value)
        if match is None or any(int(n) >= 2**32 for n in match.group(2, 3) if n != "*"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        rule = Rule(match[1], _number(match[2]), _number(match[3]), frozenset(match[4]))
        (_allow if verb == "allow" else _deny)(group, rule)
    for one in group.below():
        one.put("devices.list", str(of(one)))


def _number(text: str) -> int | None:
    return ANY if text == "*" else int(text)


def _write_all(group: Group, verb: str) -> None:
    mine, parent = of(group), group.parent
    if group.children:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if verb == "allow" and parent is not None and not of(parent).allow:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    mine.allow = verb == "allow"
    mine.rules = list(of(parent).rules) if verb == "allow" and parent is not None else []


def _allow(group: Group, rule: Rule) -> None:
    mine, parent = of(group), group.parent
    if mine.allow:
        if parent is not None and of(parent).touches(rule):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        mine.remove(rule)
    elif parent is not None and not of(parent).permits(mine, rule):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    else:
        mine.add(rule)


def _deny(group: Group, rule: Rule) -> None:
    mine = of(group)
    (mine.add if mine.allow else mine.remove)(rule)
    for child in list(group.below())[1:]:
        filter_ = of(child)
        if mine.allow and filter_.allow:
            filter_.add(rule)
        else:
            filter_.remove(rule)
        _revalidate(child, filter_)


def _revalidate(group: Group, filter_: Filter) -> None:
    """revalidate_active_exceptions: what the parent no longer permits goes."""
    parent = group.parent
    above = of(parent) if parent is not None else filter_
    filter_.rules = [rule for rule in filter_.rules if above.permits(filter_, rule)]
