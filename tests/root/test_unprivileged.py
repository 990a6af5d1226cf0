"""The command line as an ordinary user: what can be read is shown, and the rest is refused for the
one reason that counts."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from cgmgr import Manager
from cgmgr.group import Group
from tests.cli.command import PROGRAM

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PROGRAM)


def as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AS_NOBODY, *words], env={}, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(autouse=True)
def reachable() -> None:
    if as_nobody("--version").returncode:
        pytest.skip("nobody may not read this checkout")


@pytest.fixture
def group(run_token: str) -> Generator[Group]:
    with Manager().create(run_token, memory="64M") as group:
        yield group


@pytest.mark.parametrize("verb", ["ls", "tree", "get"])
def test_groups_can_be_looked_at(verb: str, group: Group) -> None:
    words = ["group", verb, *([group.name] if verb == "get" else [])]

    seen = as_nobody(*words)

    assert (seen.returncode, seen.stderr) == (0, "")
    assert group.name.rpartition("/")[2] in seen.stdout
    if verb == "get":
        assert "64M" in seen.stdout, "the memory of a group of root's, not of one of ours"


CHANGES = {
    "create": "group create x memory=64M",
    "create, dry": "group create --dry-run x memory=64M",
    "run": "run host true",
    "run, dry": "run --dry-run host true",
    "group run": "group run --temp true",
    "set": "group set GROUP memory=1G",
    "set, dry": "group set --dry-run GROUP memory=1G",
    "freeze": "group freeze GROUP",
    "freeze, dry": "group freeze --dry-run GROUP",
    "kill, dry": "group kill --dry-run GROUP",
    "rm": "group rm GROUP",
    "rm, dry": "group rm --dry-run GROUP",
}


@pytest.mark.parametrize("words", CHANGES.values(), ids=CHANGES)
def test_a_change_is_refused_for_want_of_rights(words: str, group: Group) -> None:
    said = as_nobody(*words.replace("GROUP", group.name).split())

    assert said.returncode in (1, 125)
    assert said.stdout == ""
    first, second = said.stderr.splitlines()
    assert first.startswith("cgmgr: changing groups needs root here: user 65534 may not write in /")
    assert second == "hint: su # root may"
    assert group.state == "thawed"


def test_there_is_nothing_to_collect() -> None:
    said = as_nobody("gc")

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize("words", [["-m", "-n"], ["--dry-run", "-m", "-n"]], ids=" ".join)
def test_namespaces_that_need_root_say_how_to_do_without(words: list[str]) -> None:
    said = as_nobody("unshare", *words, "true")

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == (
        "cgmgr: unshare mount, network: operation not permitted\n"
        "hint: --map-root-user # in a user namespace of your own, or as root\n"
    )


def test_a_user_namespace_of_ones_own_needs_no_root() -> None:
    if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("nobody can make a user namespace here")

    said = as_nobody("unshare", "--map-root-user", "-m", "id", "-u")

    assert (said.returncode, said.stdout, said.stderr) == (0, "0\n", "")
