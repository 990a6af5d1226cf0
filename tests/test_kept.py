"""Files that stay open: what is kept, and what is told of those that went."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from cgmgr.errors import GroupGone
from cgmgr.kept import MOST, Budget, KeptFiles
from cgmgr.kernfs import Directory, Tree

LONG = "x" * 5000 + "\n"


@pytest.fixture
def group(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.mkdir()
    for name, text in (("cgroup.procs", ""), ("one", "1\n"), ("long", LONG)):
        (path / name).write_text(text)
    return path


class Opening:
    """What gives the group's directory, and counts how often it is asked for."""

    def __init__(self, group: Path) -> None:
        self.tree = Tree(str(group.parent))
        self.asked = 0

    def __call__(self, _key: str) -> Directory:
        self.asked += 1
        return self.tree.open("/a")


@pytest.fixture
def at(group: Path) -> Opening:
    return Opening(group)


def test_what_is_kept_is_read_again_from_its_beginning(group: Path, at: Opening) -> None:
    files = KeptFiles(Budget(10))
    read = files.reader("", at)

    assert [read("one"), read("long")] == ["1\n", LONG]
    (group / "one").write_text("22\n")
    assert [read("one"), read("long")] == ["22\n", LONG]
    assert (len(files), at.asked) == (2, 2)
    files.close()


def test_what_is_absent_is_asked_for_each_time(group: Path, at: Opening) -> None:
    files = KeptFiles(Budget(10))
    read = files.reader("", at)

    assert read("later") is None
    (group / "later").write_text("now\n")
    assert read("later") == "now\n"
    files.close()


def test_hierarchies_have_files_of_the_same_name(group: Path, at: Opening) -> None:
    files = KeptFiles(Budget(10))
    other = Opening(group)
    other.tree = Tree(str(group.parent.parent))

    assert files.reader("cpu", at)("one") == "1\n"
    with pytest.raises(GroupGone):
        files.reader("memory", other)("one")
    files.close()


def test_a_budget_is_shared_and_given_back(at: Opening) -> None:
    budget = Budget(3)
    first, second = KeptFiles(budget), KeptFiles(budget)
    for files in (first, second):
        assert [files.reader("", at)(file) for file in ("one", "long")] == ["1\n", LONG]

    assert (len(first), len(second), budget.left) == (2, 1, 0)
    first.close()
    first.close()
    assert budget.left == 2
    del second, files
    assert budget.left == 3


def test_a_file_that_can_be_read_no_more_is_opened_again(group: Path, at: Opening) -> None:
    """As the kernel answers for a group that was removed: the descriptor is of no use any more."""
    budget = Budget(10)
    files = KeptFiles(budget)
    read = files.reader("", at)
    read("one")
    [held] = [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if _is(fd, group / "one")]
    folder = os.open(group, os.O_RDONLY)
    os.dup2(folder, held)  # reading it is EISDIR
    os.close(folder)

    assert read("one") == "1\n"
    assert (len(files), budget.left) == (1, 9)
    files.close()


def _is(fd: Path, file: Path) -> bool:
    try:
        return fd.readlink() == file
    except OSError:
        return False


def test_half_of_what_the_process_may_have_open() -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert Budget.of_this_process().left == (MOST if soft < 0 else min(soft // 2, MOST))
