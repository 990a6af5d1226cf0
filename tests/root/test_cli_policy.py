"""Policies at the command line, on this kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import cgmgr as package
from tests.cli.command import cgmgr, directories, left


@pytest.fixture
def parent(run_token: str) -> Iterator[str]:
    """A group's name below /cgmgr; nothing of it is left afterwards."""
    chosen = f"{run_token}-policy"
    yield chosen
    if left(chosen):
        cgmgr("group", "rm", "-f", chosen)
    assert left(chosen) == []


@pytest.fixture
def web(parent: str, tmp_path: Path) -> str:
    """A policy's file."""
    (tmp_path / "base.toml").write_text("[resources]\npids = 9\ncpuset = '0'\n")
    file = tmp_path / "web.toml"
    file.write_text(
        f'inherits = "base"\n[placement]\nparent = "/cgmgr/{parent}"\n[resources]\npids = 20\n'
    )
    return str(file)


def asked(group: str) -> dict[str, str]:
    rows = cgmgr("group", "get", group, "pids", "cpuset", "memory").stdout.splitlines()[2:4]
    return {row.split()[0]: row.split()[1] for row in rows}


def test_a_group_is_made_by_a_policy_and_changed_by_it(parent: str, web: str) -> None:
    made = cgmgr("group", "create", "front", "pids=30", "--policy", web)

    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert directories(f"{parent}/front")
    assert asked(f"{parent}/front") == {"pids": "30", "cpuset": "0"}

    changed = cgmgr("group", "set", f"{parent}/front", "--policy", web)

    assert (changed.returncode, changed.stderr) == (0, "")
    assert asked(f"{parent}/front") == {"pids": "20", "cpuset": "0"}
    assert cgmgr("group", "rm", f"{parent}/front").returncode == 0


@pytest.mark.parametrize(
    ("words", "command", "pids"),
    [
        (["group", "create", "front", "pids=30"], [], "30"),
        (["group", "run", "--temp"], ["true"], "20"),
        (["run", "--pids-limit", "30"], ["host", "true"], "30"),
    ],
    ids=["create", "group-run", "run"],
)
def test_what_a_policy_says_is_planned(
    parent: str, web: str, words: list[str], command: list[str], pids: str
) -> None:
    ended = cgmgr(*words, "--policy", web, "--dry-run", *command)

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert any(
        line.startswith(f"write {pids} > ") and f"/cgmgr/{parent}/" in line for line in lines
    )
    assert any(line.startswith("write 0 > ") and line.endswith("cpuset.cpus") for line in lines)


def test_a_container_runs_by_a_policy(parent: str, web: str) -> None:
    ended = cgmgr(
        "run", "--policy", web, "host", "sh", "-c", "grep Cpus_allowed_list /proc/self/status"
    )

    assert ended.stdout.split() == ["Cpus_allowed_list:", "0"], ended.stderr
    assert left(parent) == []


def test_the_library_runs_by_a_policy(parent: str, web: str) -> None:
    policy = package.Policy.load(web)

    ended = package.run(["cat", "/proc/self/cgroup"], policy=policy, capture=True, memory="64M")

    assert f"/cgmgr/{parent}/run-" in str(ended.stdout)
    assert left(parent) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["group", "create", "x", "--policy", "/no/such.toml"], "no policy '/no/such.toml'"),
        (["group", "set", "x", "--policy", "nobody-has-this"], "no policy 'nobody-has-this' in"),
        (["run", "--policy", "./x", "host", "true"], "no policy './x': it ends not in .toml"),
        (["group", "set", "x"], "nothing to set"),
    ],
)
def test_a_policy_that_is_not_there_is_told(words: list[str], complaint: str) -> None:
    ended = cgmgr(*words)

    assert ended.returncode != 0
    assert complaint in ended.stderr
