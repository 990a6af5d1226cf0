"""What an ordinary user is told who may make no groups: the way out that his host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr import rights
from cgmgr.errors import NotDelegated
from cgmgr.host import Host
from tests.fakefs import unpack


@pytest.mark.parametrize(
    ("name", "pid1", "hint"),
    [
        pytest.param("debian12-unified", "systemd", "systemd-run --user --scope", id="systemd"),
        pytest.param(
            "debian12-unified", "init", "cgroup.procs cgroup.subtree_control", id="no systemd"
        ),
        pytest.param("debian12-legacy", "systemd", rights.ROOT, id="legacy"),
        pytest.param("linux618-hybrid", "init", rights.ROOT, id="hybrid"),
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


@pytest.mark.parametrize(
    ("own", "writable", "refused"),
    [
        pytest.param("/mine/app", "mine", False, id="from-within"),
        pytest.param("/session", "mine", True, id="from-elsewhere"),
        pytest.param("/session", "", False, id="all-of-it"),
    ],
)
def test_who_may_come_in(
    own: str, writable: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = unpack("debian12-unified", tmp_path)
    assert host.v2 is not None
    host.tree(host.v2).mkdir("/mine")
    v2 = host.v2.replace(own=own, base="/mine")
    allowed = f"{v2.mountpoint}/{writable}".rstrip("/") + "/cgroup.procs"
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    def access(path: str, _mode: int) -> bool:
        return path == allowed

    monkeypatch.setattr("os.access", access)

    seen = Host(host.root, (v2,))
    if not refused:
        rights.demand_entry(seen)
        return
    with pytest.raises(NotDelegated, match="no process can be moved from /session") as caught:
        rights.demand_entry(seen)
    assert caught.value.hint == "systemd-run --user --scope -p Delegate=yes -- $SHELL"
