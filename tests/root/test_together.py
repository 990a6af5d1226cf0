"""Several at once, in threads and in processes: nothing is lost, nothing is left."""

from __future__ import annotations

import errno
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cgmgr import kernfs
from cgmgr.errors import CgmgrError, HostError, NameTaken
from cgmgr.manager import Manager


def left(manager: Manager, name: str) -> list[str]:
    """Directories of a group and of all below it."""
    places = [
        Path(h.mountpoint + kernfs.join(h.base, name.partition("/")[2].partition("/")[0]))
        for h in manager.host.managed
    ]
    return [str(place) for place in places if place.exists()]


def test_siblings_come_and_go(manager: Manager, run_token: str) -> None:
    """Their parent is made by one, pruned by another, and made again, all the time."""
    parent = f"/{run_token}-together"

    def life(number: int) -> None:
        for _ in range(15):
            manager.create(f"{parent}/sub/{number}", pids=5).delete()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(life, range(4)))

    assert left(manager, parent) == []
    assert manager.rundir.records() == []


def test_one_name_is_made_once(manager: Manager, run_token: str) -> None:
    name = f"/{run_token}-once/x"

    def make(_number: int) -> bool:
        try:
            manager.create(name, pids=5)
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, range(8)))
    manager.open(name).delete()

    assert sum(made) == 1
    assert left(manager, name) == []


@pytest.mark.parametrize("writes", [0, 1, 3, 5])
def test_what_is_half_made_is_collected(manager: Manager, run_token: str, writes: int) -> None:
    """Killed after so many writes, long before the group was to be permanent."""
    name = f"/{run_token}-half/x"
    child = os.fork()
    if child == 0:
        real = kernfs.Tree.write_file
        done = 0

        def last(tree: kernfs.Tree, group: kernfs.Directory, file: str, data: bytes) -> None:
            nonlocal done
            if done == writes:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            real(tree, group, file, data)

        setattr(kernfs.Tree, "write_file", last)  # noqa: B010 - a method, to the type checkers
        try:
            manager.create(name, memory="64M", swap=0, cpus=0.5, pids=5)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert left(manager, name)

    assert manager.gc().removed == (name,)
    assert left(manager, name) == []
    assert manager.rundir.records() == []


def test_a_failure_leaves_no_parent(manager: Manager, run_token: str) -> None:
    with pytest.raises(CgmgrError):
        manager.create(f"/{run_token}-failed/x", io_rbps="999:0=1M")

    assert left(manager, f"/{run_token}-failed/x") == []
    assert manager.rundir.records() == []


def test_a_failed_clean_up_does_not_hide_the_failure(
    manager: Manager, run_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = manager.host.managed[0].mountpoint, manager.host.managed[-1].mountpoint
    make, remove = kernfs.Tree.mkdir, kernfs.Tree.rmdir

    def mkdir(tree: kernfs.Tree, path: str) -> None:
        if tree.mountpoint == last:
            raise kernfs.translate("create", last + path, OSError(errno.EROFS, "?"))
        make(tree, path)

    def rmdir(tree: kernfs.Tree, path: str) -> None:
        if tree.mountpoint == first:
            raise kernfs.translate("remove", first + path, OSError(errno.EROFS, "?"))
        remove(tree, path)

    monkeypatch.setattr(kernfs.Tree, "mkdir", mkdir)
    monkeypatch.setattr(kernfs.Tree, "rmdir", rmdir)
    with pytest.raises(HostError, match=r"^create .*read-only") as caught:
        manager.create(f"/{run_token}-ro/x", pids=5)
    assert [note for note in caught.value.__notes__ if "remove" in note]

    monkeypatch.undo()
    assert left(manager, f"/{run_token}-ro/x")
    assert manager.gc().removed == (f"/{run_token}-ro/x",)
    assert left(manager, f"/{run_token}-ro/x") == []
    assert manager.rundir.records() == []
