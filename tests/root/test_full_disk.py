"""The command line where there is no room: for records, for files at all, in the store, for output.

The run directory is a small tmpfs in a mount namespace of the test's own, so that nobody else's is
full.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from cgmgr.host import Host
from tests.cli.command import PROGRAM, cgmgr, directories
from tests.cli.elsewhere import Elsewhere, elsewhere

FULL = "no space left on device\n"


@pytest.fixture(params=[False, True], ids=["no block left", "no inode left"])
def inodes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def run() -> Generator[Elsewhere]:
    with elsewhere("/run", "size=64k", "nr_inodes=64") as made:
        yield made


@pytest.fixture
def group(run: Elsewhere, run_token: str) -> Generator[str]:
    """A group with a record, made while there was room."""
    name = f"{run_token}-there"
    assert run.cgmgr("group", "create", name, "memory=64M").stderr == ""
    yield name
    run.empty()
    run.cgmgr("group", "rm", "-f", name)
    assert directories(name) == []


def limit(name: str) -> str:
    """What the kernel holds."""
    hierarchy = Host.detect().need("memory")
    file = "memory.limit_in_bytes" if hierarchy.version == 1 else "memory.max"
    return Path(
        f"{hierarchy.mountpoint}{hierarchy.base}".rstrip("/"), "cgmgr", name, file
    ).read_text()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param("group create NAME memory=64M", 1, id="create"),
        pytest.param("run --name NAME host true", 125, id="run"),
        pytest.param("group run --temp true", 125, id="group run"),
    ],
)
def test_nothing_is_made_that_could_not_be_remembered(
    words: str, status: int, run: Elsewhere, group: str, inodes: bool, run_token: str
) -> None:
    name = f"{run_token}-new"
    run.fill(inodes=inodes)
    before = run.files()

    said = run.cgmgr(*words.replace("NAME", name).split())

    assert (said.returncode, said.stdout) == (status, "")
    first, hint = said.stderr.splitlines()
    assert first.startswith(("cgmgr: lock /run/cgmgr/", "cgmgr: write record /run/cgmgr/"))
    assert first.endswith(FULL.strip())
    assert hint == "hint: df -h /run/cgmgr && df -i /run/cgmgr"
    assert run.files() == before
    assert directories(name) + directories("run-*") == []
    assert not Path("/var/lib/cgmgr/containers", name).exists()


def test_the_first_group_of_all_needs_a_directory(run: Elsewhere, run_token: str) -> None:
    run.fill(inodes=True)

    said = run.cgmgr("group", "create", f"{run_token}-new")

    assert said.returncode == 1
    assert said.stderr == (f"cgmgr: open /run/cgmgr/groups: {FULL}hint: df -h /run && df -i /run\n")
    assert directories(f"{run_token}-new") == []


def test_a_change_that_could_not_be_remembered_is_none(
    run: Elsewhere, group: str, inodes: bool
) -> None:
    before = limit(group)
    run.fill(inodes=inodes)

    said = run.cgmgr("group", "set", group, "memory=32M")

    assert said.returncode == 1
    assert "cgmgr: write record /run/cgmgr/groups/" in said.stderr
    assert limit(group) == before
    assert run.cgmgr("group", "get", group).stdout.splitlines()[2].split()[:2] == ["memory", "64M"]


@pytest.mark.parametrize(
    "words", ["group freeze GROUP", "group thaw GROUP", "group run GROUP true", "gc", "group ls"]
)
def test_what_remembers_nothing_needs_no_room(
    words: str, run: Elsewhere, group: str, inodes: bool
) -> None:
    run.fill(inodes=inodes)

    said = run.cgmgr(*words.replace("GROUP", group).split())

    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("force", [[], ["-f"]], ids=["", "by force"])
def test_removing_makes_room(force: list[str], run: Elsewhere, group: str, inodes: bool) -> None:
    run.fill(inodes=inodes)

    said = run.cgmgr("group", "rm", *force, group)

    assert (said.returncode, said.stderr) == (0, "")
    assert directories(group) == []
    assert run.files() == set()


def test_a_store_without_room(run_token: str, inodes: bool) -> None:
    name = f"{run_token}-stored"
    Path("/var/lib/cgmgr").mkdir(parents=True, exist_ok=True)
    with elsewhere("/var/lib/cgmgr", "size=64k", "nr_inodes=64", "mode=700") as store:
        store.fill(inodes=inodes)
        before = store.files()

        said = store.cgmgr("run", "--name", name, "host", "true")

        assert (said.returncode, said.stdout) == (125, "")
        assert said.stderr.startswith("cgmgr: ")
        assert "/var/lib/cgmgr/containers" in said.stderr
        assert FULL.strip() in said.stderr
        assert store.files() == before
    assert directories(name) == []
    assert [path for path in Path("/run/cgmgr").glob("*/*") if name in path.name] == []


@pytest.mark.parametrize("words", ["group ls", "doctor", "run --dry-run host true", "--version"])
def test_output_that_finds_no_room_says_so(words: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        said = subprocess.run(
            [PROGRAM, *words.split()], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(full)

    assert said.returncode in (1, 125)
    assert said.stderr == f"cgmgr: write standard output: {os.strerror(errno.ENOSPC).lower()}\n"
    assert cgmgr(*words.split()).returncode == 0
