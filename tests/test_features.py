"""Features are probed: on recorded hosts by their files, here by the system calls too."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cgmgr import features, linux
from cgmgr.host import Host
from tests.fakefs import unpack


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "debian12-unified",
            {"kill": True, "swap": True, "peak": True, "peak_reset": False, "rt_groups": False},
            id="unified-6.1",
        ),
        pytest.param(
            "debian12-legacy",
            {"kill": False, "group_pressure": False, "peak": True, "peak_reset": True},
            id="legacy-6.1",
        ),
        pytest.param(
            "linux618-hybrid",
            {"kill": True, "group_pressure": True, "peak_reset": True, "reclaim": False},
            id="hybrid-6.18",
        ),
    ],
)
def test_recorded_hosts(name: str, expected: dict[str, bool], tmp_path: Path) -> None:
    found = features.probe(unpack(name, tmp_path, made=True))

    assert {feature: getattr(found, feature) for feature in expected} == expected
    assert found.openat2 is None, "a recording answers no system call"
    assert "cgroup.procs" in found.delegate


def test_without_a_group_to_look_at_nobody_knows(tmp_path: Path) -> None:
    host = unpack("linux618-hybrid", tmp_path)

    assert features.probe(host).kill is None


def test_this_kernel_knows_what_it_needs_and_a_probe_leaves_nothing() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    found = features.probe(Host.detect())

    assert found.pidfd
    assert isinstance(found.clone_into_cgroup, bool)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        pytest.param(errno.ENOSYS, False, id="no-such-call"),
        pytest.param(errno.EINVAL, False, id="no-such-flag"),
        pytest.param(errno.EBADF, True, id="it-looked-at-the-descriptor"),
        pytest.param(errno.EPERM, True, id="forbidden"),
    ],
)
def test_what_an_errno_tells(number: int, answer: bool) -> None:
    def call() -> None:
        raise OSError(number, "?")

    assert features.known(call) is answer


def test_a_call_of_the_future_is_not_known() -> None:
    assert features.known(lambda: linux.syscall(10_000)) is False
