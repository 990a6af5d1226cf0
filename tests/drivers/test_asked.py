"""What is asked of a group stays asked, and can always be compared with what is held."""

from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import ControllerUnavailable, KernelError, RequestError
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.plan import Was
from cgmgr.resources import Resources
from cgmgr.resources.words import words_of
from cgmgr.rundir import Rundir
from tests.fakefs import FakeHost, unpack

LIMIT, MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
V1 = ["debian12-legacy", "debian12-hybrid", "linux618-hybrid"]
ALL = [*V1, "debian12-unified", "debian12-mixed"]
MIB = 1 << 20


def managed(host: Host, tmp_path: Path) -> Manager:
    return Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))


def on(name: str, tmp_path: Path) -> tuple[FakeHost, Manager]:
    host = unpack(name, tmp_path / "host")
    return host, managed(host, tmp_path)


def limits(group: Group) -> tuple[int, int]:
    memory = group.directory("memory")
    return int(memory.read(LIMIT)), int(memory.read(MEMSW))


def lift(group: Group) -> None:
    """As somebody else would."""
    for file in (MEMSW, LIMIT):
        group.directory("memory").write(file, "-1")


@pytest.mark.parametrize("name", V1)
def test_asked_swap_is_not_lifted_with_memory(name: str, tmp_path: Path) -> None:
    _, manager = on(name, tmp_path)
    group = manager.create("x", memory="100M", swap="10M")

    for act in (group.update, group.plan):
        with pytest.raises(RequestError, match="memory cannot be max: swap=10M was asked") as said:
            act(memory="max")
        assert said.value.hint == "swap=max"

    assert limits(group) == (100 * MIB, 110 * MIB)
    assert group.diff() == []
    group.update(memory="max", swap="max")
    assert group.diff() == []


@pytest.mark.parametrize("name", V1)
@pytest.mark.parametrize("again", [False, True], ids=["same-object", "opened-again"])
def test_asked_swap_is_held_again_when_memory_changes(
    name: str, again: bool, tmp_path: Path
) -> None:
    _, manager = on(name, tmp_path)
    group = manager.create("x", memory="100M", swap="10M")
    lift(group)

    changed = manager.open("x") if again else group
    changed.update(memory="200M")

    assert limits(group) == (200 * MIB, 210 * MIB)
    assert changed.diff() == []


def test_swap_that_nobody_here_counts_is_no_hindrance(tmp_path: Path) -> None:
    host, manager = on("debian12-hybrid", tmp_path)
    group = manager.create("x", memory="100M", swap="10M")
    memory = Path(host.need("memory").mountpoint)
    for file in memory.rglob("memory.memsw.*"):
        file.unlink()

    with pytest.raises(ControllerUnavailable, match="does not count swap"):
        group.update(swap="20M")
    group.update(memory="200M")

    assert int(group.directory("memory").read(LIMIT)) == 200 * MIB


@pytest.mark.parametrize("name", V1)
def test_what_could_not_be_asked_now_is_a_difference(name: str, tmp_path: Path) -> None:
    """Swap was asked beside a limit that somebody else set, and took away."""
    _, manager = on(name, tmp_path)
    group = manager.create("x", pids=5)
    group.directory("memory").write(LIMIT, str(100 * MIB))
    group.update(swap="10M")
    assert group.diff() == []
    lift(group)
    group.directory("pids").write("pids.max", "6")

    found = [(drift.asked, drift.held) for drift in manager.open("x").diff()]

    assert found == [(str(10 * MIB), None), ("5", "6")]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("first", [True, False], ids=["frozen-first", "thawed-first"])
def test_freezing_and_thawing_is_asking(name: str, first: bool, tmp_path: Path) -> None:
    _, manager = on(name, tmp_path)
    group = manager.create("x", frozen=first)

    for frozen in (not first, first, first):
        (group.freeze if frozen else group.thaw)()
        for seen in (group, manager.open("x")):
            assert words_of(seen.resources) == words_of(Resources(frozen=frozen))
            assert seen.diff() == []


@pytest.mark.parametrize("name", ALL)
def test_a_state_that_was_never_asked_for_is_not_asked_by_a_verb(name: str, tmp_path: Path) -> None:
    _, manager = on(name, tmp_path)
    manager.create("x", pids=5).freeze()

    assert manager.open("x").resources.frozen is None


def test_freezing_that_fails_was_not_asked(tmp_path: Path) -> None:
    host, manager = on("debian12-hybrid", tmp_path)
    group = manager.create("x", frozen=False)

    host.fail("/cgmgr/x", "freezer.state", 5)
    with pytest.raises(KernelError):
        group.freeze()
    host.faults.clear()

    assert (group.resources.frozen, manager.open("x").resources.frozen) == (False, False)
    assert group.diff() == []


def test_a_thaw_does_not_hide_a_change_that_was_cut_short(tmp_path: Path) -> None:
    host, manager = on("debian12-hybrid", tmp_path)
    group = manager.create("x", frozen=True, pids=5)
    record = manager.rundir.load("/cgmgr/x")
    assert record is not None
    pids = host.need("pids").key
    was = Was(key=pids, path=group.paths[pids], file="pids.max", text="5")
    manager.rundir.note(record.replace(before=(was,)))
    group.at(pids).write("pids.max", "6")

    group.thaw()
    manager.open("x").update()

    assert group.at(pids).read("pids.max").strip() == "5"
    assert manager.open("x").diff() == []


SHARES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weight-ends-idle": ({"cpu_weight": 300}, {"cpu_weight": "300", "cpu_idle": "no"}),
    "idle-ends-weight": ({"cpu_idle": True}, {"cpu_idle": "yes"}),
}


@pytest.mark.parametrize(("last", "asked"), SHARES.values(), ids=SHARES)
def test_of_idle_and_weight_the_last_counts(
    last: dict[str, Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    _, manager = on("linux618-hybrid", tmp_path)
    group = manager.create("x", cpu_idle=True)
    group.update(cpu_weight=300)

    group.update(**last)

    assert words_of(manager.open("x").resources) == asked
    assert group.diff() == []
