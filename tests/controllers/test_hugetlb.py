"""Huge pages: by size, both kinds of limit, rounded as the kernel does."""

from __future__ import annotations

import errno

import pytest

from cgmgr.controllers import hugetlb
from cgmgr.controllers.base import Row
from cgmgr.controllers.compare import agree, rounded
from cgmgr.errors import ControllerUnavailable, KernelError, LimitBelowUsage, RequestError
from cgmgr.resources import HugetlbLimit, Resources
from cgmgr.units import MAX

from .saying import FACTS, new, nothing, seen, written

MIB = 1 << 20
BOTH = HugetlbLimit(size="2MB", max_bytes=4 * MIB, rsvd_max_bytes=MAX)


@pytest.mark.parametrize(
    ("version", "writes"),
    [
        (1, ["4194304 > hugetlb.2MB.limit_in_bytes", "-1 > hugetlb.2MB.rsvd.limit_in_bytes"]),
        (2, ["4194304 > hugetlb.2MB.max", "max > hugetlb.2MB.rsvd.max"]),
    ],
)
def test_writes(version: int, writes: list[str]) -> None:
    request = Resources(hugetlb=(BOTH,))
    assert hugetlb.wants(request)
    assert not hugetlb.wants(Resources())
    assert written(hugetlb.rows(request, seen(version, {}))) == writes
    rows = hugetlb.rows(request, new(version))
    assert written(rows) == writes
    assert {row.file for row in rows} <= set(hugetlb.observe(version, FACTS))
    assert rows[1].alternative is not None  # what is lifted need not be there


def test_without_facts_nothing_is_observed() -> None:
    assert hugetlb.observe(1) == ()
    assert hugetlb.observe(2, FACTS)[-2:] == ("hugetlb.1GB.max", "hugetlb.1GB.rsvd.max")


def test_a_size_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="cannot be 64KB: the sizes here are 2MB, 1GB"):
        hugetlb.rows(Resources(hugetlb=(HugetlbLimit(size="64KB", max_bytes=0),)), new(2))


def test_no_reservations_before_5_7() -> None:
    lacking = seen(1, {"hugetlb.2MB.rsvd.limit_in_bytes": None})
    assert len(hugetlb.rows(Resources(hugetlb=(BOTH,)), lacking)) == 1
    limited = HugetlbLimit(size="2MB", rsvd_max_bytes=0)
    with pytest.raises(ControllerUnavailable, match=r"Linux 5\.7"):
        hugetlb.rows(Resources(hugetlb=(limited,)), lacking)


def test_whole_huge_pages() -> None:
    (row,) = hugetlb.rows(Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=5 * MIB),)), new(1))
    assert agree(row.compare, row.value, str(4 * MIB))
    assert rounded(row.compare, row.value, str(4 * MIB))
    assert not agree(row.compare, row.value, str(2 * MIB))
    assert agree(row.compare, "-1", "9223372036852678656")


@pytest.mark.parametrize(
    ("file", "usage"),
    [
        ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.usage_in_bytes"),
        ("hugetlb.2MB.rsvd.max", "hugetlb.2MB.rsvd.current"),
    ],
)
def test_explain(file: str, usage: str) -> None:
    row = Row(controller="hugetlb", file=file, value="0")
    busy = hugetlb.explain(KernelError("no", errno=errno.EBUSY), row, {usage: "2097152\n"}.get)
    assert isinstance(busy, LimitBelowUsage)
    assert busy.used == 2 * MIB
    other = KernelError("no", errno=errno.EINVAL)
    assert hugetlb.explain(other, row, nothing) is other
