"""What each command loads: no more than it needs."""

import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, io, sys
from cgmgr.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(sys.argv[1:])
print(*sorted(sys.modules), sep="\\n")
"""
LIBRARY = {"cgmgr.manager", "cgmgr.host", "cgmgr.runtime", "cgmgr.drivers", "cgmgr.running"}


def loaded_by(words: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, *words.split()],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        ("--version", LIBRARY | {"typer", "psutil", "json", "cgmgr.resources"}),
        ("run --help", LIBRARY | {"typer", "psutil", "json"}),
        ("unshare --help", LIBRARY | {"typer", "psutil", "json", "cgmgr.resources"}),
        ("unshare --dry-run -u true", {"typer", "psutil", "cgmgr.manager", "cgmgr.host"}),
        ("group --help", LIBRARY | {"psutil", "rich", "cgmgr.resources"}),
        ("doctor --json", {"psutil", "rich", "cgmgr.manager", "cgmgr.runtime"}),
    ],
)
def test_a_command_loads_only_what_it_needs(words: str, unwanted: set[str]) -> None:
    assert loaded_by(words) & unwanted == set()
