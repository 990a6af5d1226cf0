"""Which devices a group may open and make.

v1 keeps a table of exceptions from a default (`device_rules`), changed here by the least writes;
the table is read back after each.  v2 has no file: the rules go as they are to the driver, which
makes a BPF program of them.  Both mean the same: an allow rule must cover the whole request, a
deny rule stops whatever it overlaps.

Sources: cgroup-v1/devices.rst, security/device_cgroup.c; cgroup-v2.rst "Device controller".
"""

from __future__ import annotations

import errno

from cgmgr.errors import GroupBusy

from .base import NO_FACTS, Facts, FilterRow, Row, Scene
from .common import unfit
from .device_rules import (
    ALLOW,
    DENY,
    EVERYTHING,
    Table,
    granted,
    parse_list,
    target,
    transition,
    written,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import DeviceRule, Resources
    from cgmgr.stats import Reader

    from .base import Read

NAME = "devices"
V1 = "devices"
ON_V2 = True
IMPLICIT_ON_V2 = True

LIST = "devices.list"
INHERITED = (LIST,)

UNSEEN = "devices.list does not show what was denied before"


def wants(resources: Resources) -> bool:
    return resources.devices is not None


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return (LIST,) if version == 1 else ()


def rows(resources: Resources, scene: Scene) -> list[Row]:
    rules = resources.devices
    if rules is None:
        return []
    if scene.version == 2:
        text = ", ".join(_spoken(rule) for rule in rules) or "deny everything"
        return [FilterRow(controller=NAME, file="", value=text, compare="", rules=rules)]
    return _rows_v1(target(rules), scene)


def explain(error: CgmgrError, row: Row, _read: Read) -> CgmgrError:
    """EPERM: the group above is not allowed as much.  EINVAL: there are groups below."""
    if error.errno == errno.EPERM and row.file == ALLOW:
        why = "the group above is not allowed as much"
        return unfit(NAME, row.value, Scene(version=1, where=error.path or ""), why)
    if error.errno == errno.EINVAL and row.value == str(EVERYTHING):
        return _has_children(error.path or "")
    return error


def stats(_read: Reader, _version: int, _facts: Facts) -> None:
    return None


def _rows_v1(wanted: Table, scene: Scene) -> list[Row]:
    above = scene.parent.get(LIST)  # empty is a group that may nothing
    parent = Table() if above is None else parse_list(above)
    # a new group has what the group above has
    now = parent if scene.new else parse_list(scene.files.get(LIST) or "")
    _check_parent(wanted, parent, scene)
    steps = transition(now, wanted, exact=scene.new or not now.allow)
    if scene.children and any(rule.kind == "a" for _, rule in steps):
        raise _has_children(scene.where)
    planned: list[Row] = []
    if (ALLOW, EVERYTHING) in steps and not now.allow:
        # change nothing; undone after the default is denial again, they bring the rules back
        planned += [_row(ALLOW, rule, now, now, scene) for rule in now.rules()]
        planned = [row.replace(undo=row.value, undo_file=ALLOW) for row in planned]
    table = now
    for file, rule in steps:
        before, table = table, written(table, None, file, rule)
        planned.append(_row(file, rule, before, table, scene))
    return planned


def _row(file: str, rule: DeviceRule, before: Table, after: Table, scene: Scene) -> Row:
    unseen = rule.kind == "a" and before.allow and not scene.new
    undone = not scene.new and not (unseen and after.allow)
    return Row(
        controller=NAME,
        file=file,
        value=str(rule),
        compare="lines",
        held_in=LIST,
        expected=str(after),
        undo=str(rule) if undone else None,
        undo_file=DENY if file == ALLOW else ALLOW,
        irreversible=UNSEEN if unseen else "",
    )


def _check_parent(wanted: Table, parent: Table, scene: Scene) -> None:
    if parent.allow:
        return  # what it denies cannot be seen; the kernel will say so
    where = scene.where.rpartition("/")[0] or "the group above"
    why = f"{where} is allowed only: {', '.join(str(parent).splitlines()) or 'nothing'}"
    if wanted.allow:
        raise unfit(NAME, EVERYTHING, scene, why)
    for rule in wanted.rules():
        if not granted(parent, rule):
            raise unfit(NAME, rule, scene, why)


def _has_children(where: str) -> GroupBusy:
    return GroupBusy(
        f"devices: the default of {where} cannot change while there are groups below it",
        operation="set devices",
        path=where,
        value=str(EVERYTHING),
        errno=errno.EINVAL,
        hint=f"find {where} -mindepth 1 -type d",
    )


def _spoken(rule: DeviceRule) -> str:
    return f"{'allow' if rule.allow else 'deny'} {rule}"
