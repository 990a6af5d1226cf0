"""A run directory, or another, of a test's own: a tmpfs in a mount namespace where nobody else is.

Law: helpers for tests; the namespace ends with the process that keeps it.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Generator

from .command import PROGRAM

FILLED = "i=0; while touch {place}/fill$i 2>/dev/null; do i=$((i+1)); done"


class Elsewhere:
    """A mount namespace with a tmpfs of its own over a directory."""

    def __init__(self, place: str, *options: str) -> None:
        self.place = place
        ready = f"mount -t tmpfs -o {','.join(options)} none {place} && echo ready && exec cat"
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ready]
        self._keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self._keeper.communicate()

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        entered = ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", *argv]
        return subprocess.run(entered, check=False, capture_output=True, text=True, timeout=60)

    def cgmgr(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(PROGRAM, *words)

    def fill(self, *, inodes: bool) -> None:
        """Leave no room for a byte, or for a file."""
        fill = FILLED if inodes else "head -c 1G /dev/zero > {place}/fill"
        self.run("sh", "-c", fill.format(place=self.place))

    def empty(self) -> None:
        self.run("sh", "-c", f"rm {self.place}/fill*")

    def files(self) -> set[str]:
        found = self.run("find", self.place, "-type", "f", "!", "-name", "fill*")
        return set(found.stdout.splitlines())


@contextlib.contextmanager
def elsewhere(place: str, *options: str) -> Generator[Elsewhere]:
    made = Elsewhere(place, *options)
    try:
        yield made
    finally:
        made.close()
