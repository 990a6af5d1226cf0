"""Whose limit it was, with real OOM kills on the kernel that runs here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr import kernfs
from cgmgr.errors import GroupGone
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.oom import Oom
from cgmgr.oom_watch import Watch
from cgmgr.spawn import DEVNULL, Ended, Placement, SpawnRequest, start

MIB = 1 << 20
#: uses 96 MiB at least, and touches it
HOG = (sys.executable, "-I", "-S", "-c", "x = b'x' * (96 << 20)")
LITTLE, MUCH = 24 * MIB, 512 * MIB
KILLED = Ended(signal=9)


@pytest.fixture(scope="module")
def host() -> Host:
    found = Host.detect()
    if found.holder("memory") is None:
        pytest.skip("no memory controller")
    return found


class Family:
    """A group in a group, each with limits of its own."""

    def __init__(self, manager: Manager, name: str) -> None:
        self._manager = manager
        self._name = name
        self.made: list[Group] = []

    def __call__(self, above: dict[str, Any], inside: dict[str, Any]) -> tuple[Group, Group]:
        self.made.append(self._manager.create(f"{self._name}/up", **above))
        self.made.append(self._manager.create(f"{self._name}/up/in", **inside))
        return self.made[0], self.made[1]

    def delete(self) -> None:
        for group in reversed(self.made):
            group.delete()


@pytest.fixture
def family(manager: Manager, run_token: str, request: pytest.FixtureRequest) -> Iterator[Family]:
    found = Family(manager, f"/{run_token}/{request.node.name.split('[')[0][:40]}")
    yield found
    found.delete()


def run_in(group: Group, *argv: str) -> Ended:
    with Placement.of(group) as place:
        child = start(SpawnRequest(argv=argv, placement=place, stderr=DEVNULL))
    with child:
        return child.wait_ended()


def place_of(group: Group) -> str:
    return group.paths[group.host.need("memory").key]


LIMITS = [
    pytest.param({}, {"memory": LITTLE, "swap": 0}, "own", id="own"),
    pytest.param({}, {"memory": LITTLE}, "own", id="own, swap as it is"),
    pytest.param({"memory": LITTLE, "swap": 0}, {}, "ancestor", id="above"),
    pytest.param({"memory": LITTLE}, {}, "ancestor", id="above, swap as it is"),
    pytest.param({"memory": MUCH, "swap": 0}, {"memory": LITTLE, "swap": 0}, "own",
                 id="both, own is less"),
    pytest.param({"memory": LITTLE, "swap": 0}, {"memory": MUCH, "swap": 0}, "ancestor",
                 id="both, above is less"),
    pytest.param({"memory": LITTLE, "swap": 0}, {"memory": MUCH}, "ancestor",
                 id="both, above is less, swap as it is below"),
]  # fmt: skip


@pytest.mark.parametrize(("above", "inside", "whose"), LIMITS)
def test_whose_limit_it_was(
    family: Family, above: dict[str, Any], inside: dict[str, Any], whose: str
) -> None:
    outer, inner = family(above, inside)
    with Watch(inner) as watch:
        assert watch.knows
        assert watch.verdict() is None
        assert run_in(inner, *HOG) == KILLED
        holder = inner if whose == "own" else outer
        assert watch.verdict() == Oom(
            kills=1, whose=whose, limit_at=place_of(holder), limit_bytes=LITTLE
        )


def test_a_limit_further_up(manager: Manager, family: Family) -> None:
    """Three levels, the limit at the top, of which nothing is known to the group but its place."""
    outer, middle = family({"memory": LITTLE, "swap": 0}, {})
    with manager.create(f"{middle.name}/deep") as deep, Watch(deep) as watch:
        assert run_in(deep, *HOG) == KILLED
        found = watch.verdict()
    assert found == Oom(kills=1, whose="ancestor", limit_at=place_of(outer), limit_bytes=LITTLE)


def test_a_leaf_below_its_limits_holder(family: Family) -> None:
    """A scope and its leaf count as one: whoever of them holds the limit, it is the group's own."""
    outer, inner = family({"memory": LITTLE, "swap": 0}, {})
    inner.name = outer.name  # as a driver does whose group is a leaf
    with Watch(inner) as watch:
        assert run_in(inner, *HOG) == KILLED
        found = watch.verdict()
    assert found == Oom(kills=1, whose="own", limit_at=place_of(outer), limit_bytes=LITTLE)


def test_killed_from_elsewhere_is_no_oom(family: Family) -> None:
    _, inner = family({"memory": MUCH}, {"memory": MUCH})
    with Watch(inner) as watch:
        assert run_in(inner, "sh", "-c", "kill -9 $$") == KILLED
        inner.kill()
        assert watch.verdict() is None


def test_a_neighbour_that_is_killed_is_not_us(manager: Manager, family: Family) -> None:
    """The limit above was hit, and it is ours too, but it cost somebody else a process."""
    outer, inner = family({"memory": LITTLE, "swap": 0}, {})
    with manager.create(f"{outer.name}/other") as other, Watch(inner) as watch:
        assert run_in(other, *HOG) == KILLED
        assert watch.verdict() is None


def test_a_child_is_killed_and_the_command_survives(family: Family) -> None:
    _, inner = family({}, {"memory": LITTLE, "swap": 0})
    script = f'{" ".join(HOG[:-1])} "{HOG[-1]}"; {" ".join(HOG[:-1])} "{HOG[-1]}"; exit 3'
    with Watch(inner) as watch:
        assert run_in(inner, "sh", "-c", script) == Ended(exit=3)
        found = watch.verdict()
    assert found is not None
    assert (found.kills, found.whose) == (2, "own")


def test_what_was_before_does_not_count(family: Family) -> None:
    _, inner = family({}, {"memory": LITTLE, "swap": 0})
    assert run_in(inner, *HOG) == KILLED
    with Watch(inner) as watch:
        assert run_in(inner, "true") == Ended(exit=0)
        assert watch.verdict() is None


def test_a_limit_below_the_watched_group(family: Family) -> None:
    outer, inner = family({"memory": MUCH}, {"memory": LITTLE, "swap": 0})
    with Watch(outer) as watch:
        assert run_in(inner, *HOG) == KILLED
        found = watch.verdict()
    assert found == Oom(kills=1, whose="below", limit_at=place_of(inner), limit_bytes=LITTLE)


def test_a_limit_between_the_watched_group_and_the_victims(
    family: Family, manager: Manager
) -> None:
    outer, inner = family({"memory": MUCH}, {"memory": LITTLE, "swap": 0})
    with manager.create(f"{inner.name}/deep") as deep, Watch(outer) as watch:
        assert run_in(deep, *HOG) == KILLED
        found = watch.verdict()
    assert found == Oom(kills=1, whose="below", limit_at=place_of(inner), limit_bytes=LITTLE)


def test_two_limits_below(family: Family, manager: Manager) -> None:
    outer, inner = family({"memory": MUCH}, {"memory": LITTLE, "swap": 0})
    with (
        manager.create(f"{outer.name}/other", memory=LITTLE, swap=0) as other,
        Watch(outer) as watch,
    ):
        assert run_in(inner, *HOG) == run_in(other, *HOG) == KILLED
        assert watch.verdict() == Oom(kills=2, whose="below")


def test_a_victim_below_whose_limit_is_above(family: Family, manager: Manager) -> None:
    outer, inner = family({"memory": LITTLE, "swap": 0}, {"memory": MUCH})
    with manager.create(f"{inner.name}/deep", memory=MUCH) as deep, Watch(inner) as watch:
        assert run_in(deep, *HOG) == KILLED
        found = watch.verdict()
    assert found == Oom(kills=1, whose="ancestor", limit_at=place_of(outer), limit_bytes=LITTLE)


def test_a_limit_of_a_group_that_is_made_meanwhile(family: Family, manager: Manager) -> None:
    outer, _ = family({"memory": MUCH}, {})
    v1 = outer.host.need("memory").version == 1
    with Watch(outer) as watch:
        with manager.create(f"{outer.name}/late", memory=LITTLE, swap=0) as late:
            assert run_in(late, *HOG) == KILLED
            found = watch.verdict()
            where = place_of(late)
        assert watch.knows
    if v1:  # nobody listened there, and what it counted of its limit tells nothing
        assert found == Oom(kills=1, whose="unknown")
    else:
        assert found == Oom(kills=1, whose="below", limit_at=where, limit_bytes=LITTLE)


def test_a_group_below_that_is_gone_with_its_counts(family: Family, manager: Manager) -> None:
    """v1 counts kills where they were, so that there was none is not known any more."""
    outer, inner = family({"memory": MUCH}, {})
    v1 = outer.host.need("memory").version == 1
    short = manager.create(f"{outer.name}/short", memory=LITTLE, swap=0)
    with Watch(outer) as watch:
        assert (watch.verdict(), watch.knows) == (None, True)
        assert run_in(short, *HOG) == KILLED
        short.delete()
        found = watch.verdict()
        if v1:
            assert (found, watch.knows) == (None, False)
        else:
            assert found == Oom(kills=1, whose="below")
    assert inner.pids() == []


def test_a_group_that_is_gone_says_so(family: Family, manager: Manager) -> None:
    outer, _ = family({}, {})
    gone = manager.create(f"{outer.name}/gone")
    with Watch(gone) as watch:
        gone.delete()
        with pytest.raises(GroupGone):
            watch.verdict()
    with pytest.raises(GroupGone):
        Watch(gone)


def test_a_watch_keeps_nothing_back(family: Family, manager: Manager) -> None:
    """The listeners neither keep a group from being removed nor outlive the watch."""
    outer, _ = family({}, {})
    before = len(list(Path("/proc/self/fd").iterdir()))
    with manager.create(f"{outer.name}/short") as short:
        watch = Watch(short)
        watch.close()
        watch.close()
        assert not watch.knows
        short.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_root_is_known_by_sight(host: Host) -> None:
    """Here we see the real one, or a namespace's: what a verdict says of the host depends on it."""
    hierarchy = host.need("memory")
    with host.tree(hierarchy).open("/") as root:
        real = root.has("release_agent") if hierarchy.version == 1 else not root.has("cgroup.type")
    namespace = os.readlink("/proc/self/ns/cgroup") == "cgroup:[4026531835]"  # noqa: PTH115
    assert real is (namespace and hierarchy.mount_root == "/")
    assert kernfs.ancestors_of("/a/b") == ["/", "/a"]
