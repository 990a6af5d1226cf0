"""What `cgmgr run --dry-run` says of a host that is not this one."""

from pathlib import Path

import pytest

from cgmgr.cli import groups, run
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from tests.fakefs import unpack
from tests.recording import HOSTS


def test_what_is_not_held_is_told_by_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = unpack(HOSTS / "debian12-unified.tree", tmp_path / "host", made=True)
    manager = Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))

    def found(_driver: str = "auto") -> Manager:
        return manager

    monkeypatch.setattr(groups, "manager", found)

    words = ["--memory", "64m", "--memory-swappiness", "5"]
    assert run.command(["--dry-run", "--best-effort", *words, "host", "true"]) == 0

    out = capsys.readouterr().out
    assert "not held: --memory-swappiness cannot be held here" in out
    assert "memory.max" in out
