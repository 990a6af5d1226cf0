"""What an ordinary user is told who may make no groups: the way out that his host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr import rights
from cgmgr.host import Host
from tests.fakefs import unpack


@pytest.mark.parametrize(
    ("name", "pid1", "hint"),
    [
        pytest.param("debian12-unified", "systemd", "systemd-run --user --scope", id="systemd"),
        pytest.param("debian12-unified", "init", "cgroup.{procs,subtree_control", id="no systemd"),
        pytest.param("debian12-legacy", "systemd", "run as root", id="legacy"),
        pytest.param("linux618-hybrid", "init", "run as root", id="hybrid"),
    ],
)
def test_the_way_out_is_this_hosts(name: str, pid1: str, hint: str, tmp_path: Path) -> None:
    unpack(name, tmp_path)
    comm = tmp_path / "proc/1/comm"
    comm.chmod(0o644)
    comm.write_text(f"{pid1}\n")

    said = rights.way_out(Host.detect(str(tmp_path)))

    assert hint in said
    assert ("systemd" in said) is ("systemd" in hint)


def test_nothing_is_refused_where_everything_can_be_written(tmp_path: Path) -> None:
    assert rights.refusal(unpack("debian12-hybrid", tmp_path)) is None
