"""More open groups than there are descriptors for: each works, in every thread."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cgmgr import shelf
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir

LIMIT = 256
GROUPS = 300


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the kernel's answer, not a path


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    shelf.clear()
    gc.collect()
    # what others in this process have open does not count
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT + descriptors(), usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(Host.detect(), driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture
def parent(manager: Manager, run_token: str) -> Iterator[Group]:
    with manager.create(f"/{run_token}-many") as group:
        yield group


def test_three_hundred_open_groups(manager: Manager, parent: Group, few_descriptors: None) -> None:
    before = descriptors()
    groups = [manager.create(f"{parent.name}/{number}", pids=9) for number in range(GROUPS)]

    def use(group: Group) -> int:
        group.freeze()
        group.thaw()
        group.kill()
        stats = group.stats()
        assert stats.errors == ()
        assert stats.pids is not None
        return len(group.everywhere()) + len(group.pids())

    wanted = len(manager.host.managed)
    assert {use(group) for group in groups} == {wanted}
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(use, groups * 2)) == {wanted}
    assert groups[0].update(pids=8).lost == ()

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert descriptors() - before <= limit // shelf.SHARE + wanted
    for group in groups:
        group.close()
    assert descriptors() - before <= 2 * wanted, "the trees' own"


def test_groups_make_room_where_others_took_the_rest(
    manager: Manager, parent: Group, few_descriptors: None
) -> None:
    groups = [manager.create(f"{parent.name}/{number}") for number in range(5)]
    for group in groups:
        group.everywhere()
    others: list[int] = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                others.append(os.open("/dev/null", os.O_RDONLY))
        assert groups[0].stats().errors == ()
        groups[0].everywhere()
        assert groups[0].update(pids=8).refused == ()
        assert all(group.pids() == [] for group in groups)
    finally:
        for fd in others:
            os.close(fd)


def test_what_was_put_away_stays_open_for_whoever_holds_it(manager: Manager, parent: Group) -> None:
    held = parent.directory("pids")
    shelf.clear()

    assert held.read("pids.current") == "0\n"
    assert parent.directory("pids") is not held


def test_a_group_that_is_dropped_lets_go(manager: Manager, parent: Group) -> None:
    before = descriptors()
    for _ in range(3):
        manager.open(parent.name).everywhere()

    assert descriptors() == before
