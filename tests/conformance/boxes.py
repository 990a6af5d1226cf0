"""Containers as a user has them: the command, a root of one static program, and what is left.

Law: helpers for tests; each process that they start is waited for.  What a container should look
like inside is not known here.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from cgmgr.manager import Manager
from tests.cli.command import STATE, STORE
from tests.leaks import mounts

from .test_groups import traces

CGMGR = (sys.executable, "-m", "cgmgr")
#: no container of a test takes so long
MOST_S = 60


class Box(NamedTuple):
    """A container's name and its group's, with the driver that makes it."""

    driver: str
    name: str
    group: str

    @classmethod
    def of(cls, manager: Manager, name: str) -> Box:
        return cls(manager.driver.name, name, manager.full_name(name))

    def argv(self, *words: str) -> list[str]:
        return [*CGMGR, "run", "--driver", self.driver, "--name", self.name, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), check=False, capture_output=True, text=True, timeout=MOST_S
        )

    @contextlib.contextmanager
    def started(self, *words: str) -> Generator[subprocess.Popen[str]]:
        """Under way, with pipes; ^C is not ignored, as it is in a shell's background.

        On the way out it is killed, and also when it writes no line that a test waits for."""
        argv = ["env", "--default-signal=INT,QUIT", *self.argv(*words)]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            limit = threading.Timer(MOST_S, process.kill)
            limit.start()
            try:
                yield process
            finally:
                limit.cancel()
                limit.join()
                process.kill()

    def left(self) -> list[str]:
        """Directories, units, mounts, processes, layers and records with its name."""
        inside = [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/cgroup")
            if self.name in _text(path)
        ]
        files = [*STORE.glob(f"*{self.name}*"), *STATE.glob(f"*/*{self.name}*")]
        mounted = [line for line in mounts() if self.name in line]
        return [*traces(self.name), *inside, *map(str, files), *mounted]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""
