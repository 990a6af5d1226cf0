"""Commands that are killed in the middle, and what the next one says and does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.command import directories
from tests.cli.elsewhere import Elsewhere, elsewhere

KILLED = """
import sys
from cgmgr.cli import main
from tests.root.test_cut_short import kill_before

kill_before(int(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""
ROOT = Path(__file__).parents[2]
STORE = "mkdir -p /var/lib/cgmgr && mount -t tmpfs none /var/lib/cgmgr"


@pytest.fixture
def run() -> Generator[Elsewhere]:
    with elsewhere("/run", "size=1m") as made:
        assert made.run("sh", "-c", STORE).returncode == 0
        yield made


@pytest.fixture
def group(run: Elsewhere, run_token: str) -> Generator[str]:
    name = f"{run_token}-killed"
    assert run.cgmgr("group", "create", name, "memory=64M", "pids=50").stderr == ""
    yield name
    if directories(name):
        run.cgmgr("group", "rm", "-f", name)
    assert directories(name) == []
    assert not any(name in file for file in run.files())


def killed(run: Elsewhere, step: int, *words: str) -> None:
    """A command that is killed before that step."""
    ended = run.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", KILLED, str(step), *words)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def said(ended: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return ended.returncode, ended.stdout, ended.stderr


def limit(name: str) -> str:
    (path,) = [folder for folder in directories(name) if (folder / "pids.max").exists()]
    return (path / "pids.max").read_text().strip()


def test_a_removal_is_finished(run: Elsewhere, group: str) -> None:
    full, before = f"/cgmgr/{group}", len(directories(group))
    killed(run, 4, "group", "rm", "-f", group)
    assert 0 < len(directories(group)) < before

    note = f"cgmgr: note: group {full} was being made or removed by a process that was killed\n"
    shown = run.cgmgr("group", "get", group)
    assert (shown.returncode, shown.stderr) == (0, f"{note}hint: cgmgr gc\n")
    assert said(run.cgmgr("gc", "--dry-run")) == (0, f"remove group {full}\n", "")
    assert said(run.cgmgr("gc")) == (0, f"removed group {full}\n", "")
    assert directories(group) == []
    assert said(run.cgmgr("gc")) == (0, "", "")


def test_a_change_is_taken_back(run: Elsewhere, group: str) -> None:
    full = f"/cgmgr/{group}"
    step = 1
    while limit(group) == "50":
        assert run.cgmgr("gc").returncode == 0
        killed(run, step, "group", "set", group, "pids=70", "memory=128M")
        step += 1

    note = f"cgmgr: note: group {full} was being changed by a process that was killed\n"
    shown = run.cgmgr("group", "get", group, "pids")
    assert (shown.returncode, shown.stderr) == (0, f"{note}hint: cgmgr gc\n")
    assert "holds 70, asked was 50" in shown.stdout
    told = f"put back the settings of group {full}\n"
    assert said(run.cgmgr("gc", "--dry-run")) == (0, told, "")
    assert said(run.cgmgr("gc")) == (0, told, "")
    assert limit(group) == "50"
    assert said(run.cgmgr("gc")) == (0, "", "")


def test_the_next_change_says_what_it_took_back(run: Elsewhere, group: str) -> None:
    step = 1
    while limit(group) == "50":
        assert run.cgmgr("gc").returncode == 0
        killed(run, step, "group", "set", group, "pids=70", "memory=128M")
        step += 1
    foreseen = run.cgmgr("group", "set", "--dry-run", group, "memory=96M")
    assert foreseen.stderr.endswith("hint: cgmgr gc\n")

    assert said(run.cgmgr("group", "set", group, "memory=96M")) == (
        0,
        "",
        "cgmgr: note: a process was killed in the middle of changing this group: its old settings "
        "were put back first\n",
    )
    assert limit(group) == "50"
    assert said(run.cgmgr("group", "set", group, "memory=97M")) == (0, "", "")


@pytest.mark.parametrize("next_command", ["create", "set", "rm", "run"])
def test_the_next_command_clears_up_by_itself(
    run: Elsewhere, group: str, next_command: str
) -> None:
    words = {
        "create": ("group", "create", group, "pids=9"),
        "set": ("group", "set", group, "pids=9"),
        "rm": ("group", "rm", group),
        "run": ("group", "run", "--temp", "true"),
    }[next_command]
    killed(run, 4, "group", "rm", "-f", group)

    ended = run.cgmgr(*words)

    if next_command == "set":
        assert ended.stderr == (
            f"cgmgr: there is no group /cgmgr/{group}\n"
            "a process was killed while it made or removed it: it went just now\n"
            "hint: cgmgr group ls\n"
        )
    else:
        assert ended.returncode == 0
    if next_command == "create":
        assert limit(group) == "9"
        assert run.cgmgr("gc").stdout == ""
    else:
        assert directories(group) == []


@pytest.mark.parametrize("words", [("group", "set", "NAME", "pids=9"), ("gc",)], ids=["set", "gc"])
def test_the_parents_of_what_is_cleared_up_go_too(
    run: Elsewhere, run_token: str, words: tuple[str, ...]
) -> None:
    above = f"{run_token}-above"
    name = f"{above}/killed"
    assert run.cgmgr("group", "create", name).stderr == ""
    killed(run, 4, "group", "rm", "-f", name)
    assert directories(above) != []

    run.cgmgr(*(name if word == "NAME" else word for word in words))

    assert directories(above) == []
    assert not any(above in file for file in run.files())
