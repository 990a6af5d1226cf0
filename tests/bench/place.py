"""Where the measurements work: one group above everything that they make, and the C programs.

Law: whatever is made here is gone on every way out: the group with all below it and all in it, the
scratch folder, the processes.  A run that is killed outright leaves ephemeral groups, which
`cgmgr gc` removes; their names bear the mark by which the tests know that they are not theirs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Self

from cgmgr import linux
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir, default_root

SOURCES = Path(__file__).parent / "c"
SHM = "/dev/shm"
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class NotHere(Exception):
    """A measurement that this machine cannot take; the text says why."""


class Bench:
    """Use as a context manager.

    `manager` keeps its records on a tmpfs, which is what /run is on a host that was booted in the
    usual way; where it is not, `usual` is a manager with the records in the usual place.
    """

    def __init__(self) -> None:
        self.host = Host.detect()
        self.exit = ExitStack()
        self.python = sys.executable
        self._built: dict[str, str] = {}
        self._parent: Group | None = None

    def __enter__(self) -> Self:
        for number in ENDING:
            signal.signal(number, _leave)
        self.scratch = self.exit.enter_context(tempfile.TemporaryDirectory(prefix="cgmgr-bench-"))
        self.usual = Manager(self.host)
        self.manager = self.usual
        if not on_tmpfs(default_root()) and on_tmpfs(SHM):
            root = self.exit.enter_context(tempfile.TemporaryDirectory(prefix="cgmgr-", dir=SHM))
            self.manager = Manager(self.host, rundir=Rundir(f"{root}/run"))
        return self

    def __exit__(self, *_exc: object) -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        self.exit.close()

    @property
    def parent(self) -> Group:
        """The group above all others, made when it is first asked for."""
        if self._parent is None:
            name = f"/cgmgr-test-{os.getpid()}-bench"
            self._parent = self.exit.enter_context(self.usual.create(name, ephemeral=True))
        return self._parent

    def group(self, name: str, **words: Any) -> Group:
        """A new group below the parent, for the length of a `with`."""
        return self.manager.create(f"{self.parent.name}/{name}", ephemeral=True, **words)

    def program(self, name: str, *flags: str) -> str:
        """The path of a C program of `c/`, compiled on first use."""
        if name not in self._built:
            compiler = need("gcc")
            path = f"{self.scratch}/{name}"
            source = str(SOURCES / f"{name}.c")
            command = [compiler, "-O2", "-Wall", "-Wextra", *flags, "-o", path, source]
            subprocess.run(command, check=True)
            self._built[name] = path
        return self._built[name]

    def numbers(self, name: str, *arguments: str) -> list[float]:
        """What a C program prints: numbers, one a line."""
        command = [self.program(name), *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return [float(line) for line in done.stdout.split()]


def on_tmpfs(path: str) -> bool:
    """Whether the nearest directory that exists lies on a tmpfs."""
    place = Path(path)
    while not place.is_dir():
        place = place.parent
    fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        return linux.fstatfs_type(fd) == linux.TMPFS_MAGIC
    finally:
        os.close(fd)


def need(program: str) -> str:
    """Where a program is, or `NotHere`."""
    found = shutil.which(program)
    if found is None:
        raise NotHere(f"{program} is not installed")
    return found


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
