"""memory and hugetlb (mm/memcontrol.c, mm/hugetlb_cgroup.c).

Law: one function a file or family.  Nothing is really used: usage is what a test writes there.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .numbers import COUNTER_MAX, PAGE, fail, memparse, pages, signed, unsigned

if TYPE_CHECKING:
    from .group import Group


def write_v1_limit(group: Group, file: str, value: str) -> None:
    """mem_cgroup_resize_max: memory <= memory+swap at every moment, EBUSY below what is used."""
    limit = pages(value, "-1")
    if group.path == "/":
        fail(errno.EINVAL)
    swap = file.startswith("memory.memsw.")
    other = "memory.limit_in_bytes" if swap else "memory.memsw.limit_in_bytes"
    if group.has(other):
        bound = int(group.get(other)) // PAGE
        if (limit < bound) if swap else (limit > bound):
            fail(errno.EINVAL)
    usage = group.get(file.replace("limit", "usage"), "0")
    if limit * PAGE < int(usage):
        fail(errno.EBUSY)
    group.put(file, str(limit * PAGE))


def write_soft_limit(group: Group, file: str, value: str) -> None:
    group.put(file, str(pages(value, "-1") * PAGE))


def write_v2_limit(group: Group, file: str, value: str) -> None:
    limit = pages(value, "max")
    group.put(file, "max" if limit == COUNTER_MAX else str(limit * PAGE))


def write_swappiness(group: Group, file: str, value: str) -> None:
    if unsigned(value) > 200:
        fail(errno.EINVAL)
    group.put(file, str(unsigned(value)))


def write_oom_control(group: Group, file: str, value: str) -> None:
    disable = unsigned(value)
    if group.path == "/" or disable not in (0, 1):
        fail(errno.EINVAL)
    group.set_key(file, "oom_kill_disable", disable)


def write_use_hierarchy(_group: Group, _file: str, value: str) -> None:
    if unsigned(value) != 1:
        fail(errno.EINVAL)


def write_switch(group: Group, file: str, value: str) -> None:
    """A kstrtoint that is 0 or 1."""
    if signed(value) not in (0, 1):
        fail(errno.EINVAL)
    group.put(file, str(signed(value)))


def write_reset(group: Group, file: str, _value: str) -> None:
    """mem_cgroup_reset: whatever is written, a high-water mark falls to the use, a count to 0."""
    group.put(file, group.get(file.replace("max_usage", "usage"), "0") if "max_" in file else "0")


def write_reclaim(group: Group, _file: str, value: str) -> None:
    """memory_reclaim: EAGAIN when less could be reclaimed than was asked for."""
    wanted = pages(value, "max") * PAGE
    used = int(group.get("memory.current", "0"))
    group.put("memory.current", str(used - min(used, wanted)))
    if wanted > used:
        fail(errno.EAGAIN)


def write_hugetlb(group: Group, file: str, value: str) -> None:
    """hugetlb_cgroup_write: whole huge pages."""
    v1 = group.kernel.version == 1
    if group.path == "/":
        fail(errno.EINVAL)
    size = memparse(file.split(".")[1].removesuffix("B"))
    limit = pages(value, "-1" if v1 else "max") * PAGE // size * size
    unlimited = limit == COUNTER_MAX * PAGE // size * size
    group.put(file, "max" if unlimited and not v1 else str(limit))
