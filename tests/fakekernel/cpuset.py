"""cpuset (kernel/cgroup/cpuset.c), without partitions.

Law: one function a file, and the effective sets, which follow from others.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cgmgr.units import format_id_list, parse_id_list

from .numbers import fail

if TYPE_CHECKING:
    from .group import Group

#: nodes that x86 kernels are built for (CONFIG_NODES_SHIFT=10); cpus are counted at boot
MAX_NUMNODES = 1024


def _ids(value: str, bound: int) -> frozenset[int]:
    try:
        ids = frozenset(parse_id_list(value, most=2**31)) if value else frozenset[int]()
    except ValueError:
        fail(errno.EINVAL)
    if ids and max(ids) > bound:
        fail(errno.ERANGE)
    return ids


def write_cpuset(group: Group, file: str, value: str) -> None:
    """update_cpumask, validate_change: on v1 a set lies between the parent's and the children's."""
    facts = group.kernel.facts
    cpus = file.endswith("cpus")
    possible = facts.cpus if cpus else facts.mems
    if group.path == "/":
        fail(errno.EACCES)
    ids = _ids(value, max(possible) if cpus else MAX_NUMNODES - 1)
    if not ids <= possible:
        fail(errno.EINVAL)
    if group.kernel.version == 1:
        _check_legacy_cpuset(group, file, ids)
    group.put(file, format_id_list(ids) + "\n")


def _check_legacy_cpuset(group: Group, file: str, ids: frozenset[int]) -> None:
    sets = [
        frozenset(parse_id_list(child.get(file))) for child in group.children if child.get(file)
    ]
    if any(not one <= ids for one in sets):
        fail(errno.EBUSY)
    parent = group.parent
    text = parent.get(file) if parent else ""
    if not ids <= (frozenset(parse_id_list(text)) if text else frozenset()):
        fail(errno.EACCES)
    if not ids and group.pids:
        fail(errno.ENOSPC)


def settle_cpuset(group: Group) -> None:
    """The effective sets; on v2 an empty one, or one outside the parent's, is the parent's."""
    v1 = group.kernel.version == 1
    for kind in ("cpus", "mems"):
        effective = f"cpuset.effective_{kind}" if v1 else f"cpuset.{kind}.effective"
        if not group.has(effective):
            continue
        parent = group.parent
        text = parent.get(effective) if parent else ""
        above = frozenset(parse_id_list(text)) if text else frozenset[int]()
        asked = group.get(f"cpuset.{kind}")
        ids = above & frozenset(parse_id_list(asked)) if asked else frozenset[int]()
        group.put(effective, format_id_list(ids if ids or v1 else above) + "\n")
