"""CPUs and memory nodes: filled on v1, never outside what the group above has."""

from __future__ import annotations

import errno

import pytest

from cgmgr.controllers import cpuset
from cgmgr.controllers.base import Row
from cgmgr.errors import ControllerUnavailable, GroupBusy, KernelError, NotDelegated, RequestError
from cgmgr.resources import Cpuset, Resources

from .saying import new, nothing, seen, undone, written

ABOVE_V1 = {"cpuset.cpus": "0-2", "cpuset.mems": "0", "cpuset.effective_cpus": "0-2"}
ABOVE_V2 = {"cpuset.cpus": "", "cpuset.cpus.effective": "0-2", "cpuset.mems.effective": "0"}
HELD_V1 = {"cpuset.cpus": "0-1", "cpuset.mems": "0"}


@pytest.mark.parametrize(
    ("asked", "v1", "v2"),
    [
        pytest.param(Cpuset(), ["0-2 > cpuset.cpus", "0 > cpuset.mems"], [], id="filled"),
        pytest.param(
            Cpuset(cpus=(0, 2)),
            ["0,2 > cpuset.cpus", "0 > cpuset.mems"],
            ["0,2 > cpuset.cpus"],
            id="cpus",
        ),
        pytest.param(
            Cpuset(mems=(0,)),
            ["0-2 > cpuset.cpus", "0 > cpuset.mems"],
            ["0 > cpuset.mems"],
            id="mems",
        ),
    ],
)
def test_a_new_group(asked: Cpuset, v1: list[str], v2: list[str]) -> None:
    assert written(cpuset.rows(Resources(cpuset=asked), new(1, ABOVE_V1))) == v1
    assert written(cpuset.rows(Resources(cpuset=asked), new(2, ABOVE_V2))) == v2


@pytest.mark.parametrize(
    "parent",
    [
        pytest.param({}, id="not-seen"),
        pytest.param({"cpuset.cpus": "", "cpuset.mems": ""}, id="still-empty"),
        pytest.param({"cpuset.cpus": None, "cpuset.mems": None}, id="absent"),
    ],
)
def test_below_a_parent_that_says_nothing_it_is_the_machine(parent: dict[str, str | None]) -> None:
    rows = cpuset.rows(Resources(), new(1, parent))
    assert written(rows) == ["0-3 > cpuset.cpus", "0-1 > cpuset.mems"]


def test_a_group_that_has_them_keeps_them() -> None:
    assert cpuset.rows(Resources(), seen(1, HELD_V1, parent=ABOVE_V1)) == []


def test_a_group_that_somebody_left_empty_is_filled() -> None:
    rows = cpuset.rows(Resources(), seen(1, {"cpuset.cpus": "", "cpuset.mems": "0"}))
    assert written(rows) == ["0-3 > cpuset.cpus"]
    assert [row.undo for row in rows] == ["\n"]  # a write of no bytes does nothing


@pytest.mark.parametrize(("version", "parent"), [(1, ABOVE_V1), (2, ABOVE_V2)], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        pytest.param(
            Cpuset(cpus=(0, 3)),
            "cpuset cannot be 0,3: /sys/fs/cgroup/x/cgmgr has only CPUs 0-2",
            id="cpus-of-the-parent",
        ),
        pytest.param(
            Cpuset(cpus=(4,)),
            "cpuset cannot be 4: this machine has CPUs 0-3",
            id="cpus-of-the-machine",
        ),
        pytest.param(
            Cpuset(mems=(0, 1)),
            "mems cannot be 0-1: /sys/fs/cgroup/x/cgmgr has only memory nodes 0",
            id="mems-of-the-parent",
        ),
        pytest.param(
            Cpuset(mems=(7,)),
            "mems cannot be 7: this machine has memory nodes 0-1",
            id="mems-of-the-machine",
        ),
    ],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_outside(
    version: int, parent: dict[str, str], asked: Cpuset, message: str, fresh: bool
) -> None:
    scene = new(version, parent) if fresh else seen(version, HELD_V1, parent=parent)
    with pytest.raises(RequestError) as caught:
        cpuset.rows(Resources(cpuset=asked), scene)
    assert message in str(caught.value)


def test_v2_below_a_parent_without_cpuset_it_is_the_machine() -> None:
    rows = cpuset.rows(Resources(cpuset=Cpuset(cpus=(3,))), new(2, {"cpuset.cpus.effective": None}))
    assert written(rows) == ["3 > cpuset.cpus"]


@pytest.mark.parametrize(
    ("kind", "writes"),
    [
        pytest.param("member", ["member > cpuset.cpus.partition", "1 > cpuset.cpus"], id="member"),
        pytest.param("root", ["1 > cpuset.cpus", "root > cpuset.cpus.partition"], id="root"),
        pytest.param(
            "isolated", ["1 > cpuset.cpus", "isolated > cpuset.cpus.partition"], id="isolated"
        ),
    ],
)
def test_partition(kind: str, writes: list[str]) -> None:
    request = Resources(cpuset=Cpuset(cpus=(1,), partition=kind))
    files = {"cpuset.cpus": "", "cpuset.cpus.partition": "root invalid (Cpu list is empty)"}
    rows = cpuset.rows(request, seen(2, files))
    assert written(rows) == writes
    assert undone(rows, files)["cpuset.cpus.partition"] == "root"


def test_partitions_on_v1() -> None:
    neutral = Resources(cpuset=Cpuset(partition="member"))
    assert cpuset.rows(neutral, seen(1, HELD_V1)) == []
    with pytest.raises(ControllerUnavailable, match="no partitions") as caught:
        cpuset.rows(Resources(cpuset=Cpuset(partition="root")), seen(1, HELD_V1))
    assert caught.value.hint == "echo 1 > /sys/fs/cgroup/x/cgmgr/job/cpuset.cpu_exclusive"


def test_partitions_on_an_old_kernel() -> None:
    lacking = seen(2, {"cpuset.cpus.partition": None})
    assert cpuset.rows(Resources(cpuset=Cpuset(partition="member")), lacking) == []
    with pytest.raises(ControllerUnavailable, match=r"Linux 5\.0"):
        cpuset.rows(Resources(cpuset=Cpuset(partition="root")), lacking)


@pytest.mark.parametrize("version", [1, 2])
def test_the_first_two_files_are_what_is_set(version: int) -> None:
    assert cpuset.observe(version)[:2] == ("cpuset.cpus", "cpuset.mems")


def test_explain() -> None:
    row = Row(controller="cpuset", file="cpuset.cpus", value="0")
    busy = cpuset.explain(KernelError("busy", errno=errno.EBUSY), row, nothing)
    assert isinstance(busy, GroupBusy)
    denied = cpuset.explain(NotDelegated("denied", errno=errno.EACCES), row, nothing)
    assert "the group above has not all these CPUs" in str(denied)
    kind = row.replace(file="cpuset.cpus.partition", value="root")
    assert (
        str(cpuset.explain(NotDelegated("denied", errno=errno.EACCES), kind, nothing)) == "denied"
    )
    other = KernelError("other", errno=errno.EIO)
    assert cpuset.explain(other, row, nothing) is other
