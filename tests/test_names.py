"""What new groups may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr import names
from cgmgr.errors import RequestError

HOSTS = Path(__file__).parent / "hosts"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("", "it is empty", id="empty"),
        pytest.param(".", "it is no name", id="dot"),
        pytest.param("..", "it is no name", id="dotdot"),
        pytest.param("a/b", "it contains /", id="slash"),
        pytest.param("a\0b", "control character", id="nul"),
        pytest.param("a\nb", "control character", id="newline"),
        pytest.param("a\x1bb", "control character", id="escape"),
        pytest.param("a\x85b", "control character", id="c1"),
        pytest.param("\udcff", "control character", id="no-text"),
        pytest.param("a b", "white space", id="blank"),
        pytest.param("a\u2003b", "white space", id="wide-blank"),
        pytest.param("-x", "it begins with -", id="option"),
        pytest.param(".x", "it begins with .", id="hidden"),
        pytest.param("x" * 256, "longer than 255 bytes", id="long"),
        pytest.param("ü" * 128, "longer than 255 bytes", id="long-in-bytes"),
        pytest.param("tasks", "every group has a file", id="tasks"),
        pytest.param("release_agent", "every group has a file", id="release_agent"),
        pytest.param("notify_on_release", "every group has a file", id="notify_on_release"),
        pytest.param("cgroup.procs", "begin with cgroup. are the kernel's", id="cgroup"),
        pytest.param("cgroup.new", "begin with cgroup. are the kernel's", id="cgroup-to-come"),
        pytest.param("memory.max", "begin with memory. are the kernel's", id="memory"),
        pytest.param("cpu.shares", "begin with cpu. are the kernel's", id="cpu"),
        pytest.param("blkio.x", "begin with blkio. are the kernel's", id="v1-name"),
    ],
)
def test_names_that_are_refused(name: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        names.check_name(name)

    assert caught.value.value == name
    assert len(str(caught.value)) < 140


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a",
            "x" * 255,
            "web-1",
            "ümlaut",
            "a,b",
            "memory",
            "cgroup",
            "tasks.1",
            "web.memory.max",
        ),
        *("user@1000.service", "run-u12.scope", "docker:x", "a\\x2db", "_tasks", "cpus.x"),
    ],
)
def test_names_that_are_taken(name: str) -> None:
    assert names.check_name(name) == name


def test_every_part_of_a_path_is_a_name() -> None:
    assert names.check_new_path("a/b/") == "/a/b"
    for path in ("/a/-b", "/tasks/x", "/a//b"):
        with pytest.raises(RequestError, match="invalid group name"):
            names.check_new_path(path)


def test_no_file_of_a_recorded_host_can_be_a_name() -> None:
    """Whatever a kernel has in a directory of groups, no new group may be called."""
    files: set[str] = set()
    for tree in HOSTS.glob("*.tree"):
        for line in tree.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            mark, _, rest = line.partition(" ")
            if mark in ("===", "!!!") and rest.startswith("/sys/fs/cgroup/"):
                files.add(rest.split()[0].rpartition("/")[2])
    assert len(files) > 50
    for name in files:
        with pytest.raises(RequestError):
            names.check_name(name)
