"""Containers for tests: a store and a state root of the test's own, names with the run's token.

Law: nothing here knows what a container should look like inside.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cgmgr.host import Host
from cgmgr.runtime import launcher, spec
from cgmgr.runtime.launcher import Container, Launch
from cgmgr.runtime.spec import ContainerRequest
from cgmgr.spawn.process import Ended
from tests.leaks import mounts

SHELL = "/bin/sh"
#: below the state root, and meant to stay
CACHE = "seccomp"
_numbers = itertools.count(1)


class Outcome(NamedTuple):
    """How a container's command ended and what it wrote."""

    ended: Ended
    out: str
    err: str

    @property
    def code(self) -> int | None:
        return self.ended.returncode


class Lab:
    """Runs containers, and looks whether they left anything."""

    def __init__(self, host: Host, folder: Path, token: str) -> None:
        self.host = host
        self.folder = folder
        self.token = token
        self.store = folder / "store"
        self.run_root = folder / "run"
        self.mounts = mounts()

    def name(self) -> str:
        return f"{self.token}-{next(_numbers)}"

    def request(self, *argv: str, **fields: Any) -> ContainerRequest:
        plain: dict[str, Any] = {"id": self.name(), "rootfs": spec.HOST, "argv": argv}
        return ContainerRequest(**plain | fields)

    def launch(self, **fields: Any) -> Launch:
        plain: dict[str, Any] = {
            "host": self.host,
            "store": str(self.store),
            "run_root": str(self.run_root),
        }
        return Launch(**plain | fields)

    def run(self, *argv: str, launch: dict[str, Any] | None = None, **fields: Any) -> Outcome:
        """Run a command in a container to its end."""
        with self.streams() as (streams, outcome):
            ended = launcher.run_container(
                self.request(*argv, **fields), self.launch(**streams, **(launch or {}))
            )
        return outcome(ended)

    def sh(self, script: str, **fields: Any) -> Outcome:
        """Run a shell's script in a container to its end."""
        return self.run(SHELL, "-c", script, **fields)

    @contextmanager
    def streams(self) -> Generator[tuple[dict[str, int], Callable[[Ended], Outcome]]]:
        """Files for output and errors, an empty input; and what to make an `Outcome` with."""
        number = next(_numbers)
        out, err = self.folder / f"out{number}", self.folder / f"err{number}"
        with Path(os.devnull).open("rb") as null, out.open("wb") as o, err.open("wb") as e:
            streams = {"stdin": null.fileno(), "stdout": o.fileno(), "stderr": e.fileno()}
            yield streams, lambda ended: Outcome(ended, out.read_text(), err.read_text())

    @contextmanager
    def running(self, *argv: str, **fields: Any) -> Generator[tuple[Container, Path]]:
        """A container whose command runs, and where its "/" is seen from the host."""
        with (
            self.streams() as (streams, _),
            Container.create(self.request(*argv, **fields), self.launch(**streams)) as container,
        ):
            container.start()
            yield container, Path(f"/proc/{container.process.pid}/root")

    def left(self) -> list[str]:
        """What is left in the store and the state root, and of mounts."""
        meant = {self.run_root / "containers", *(self.run_root / CACHE).rglob("*")}
        files = [
            str(path.relative_to(self.folder))
            for root in (self.store, self.run_root)
            for path in root.rglob("*")
            if path not in meant | {self.run_root / CACHE}
        ]
        return files + sorted(mount for mount in mounts() - self.mounts if "overlay" in mount)


@contextmanager
def tmpfs(place: Path, *options: str) -> Generator[None]:
    """A tmpfs of the test's own on the host."""
    words = ["-o", ",".join(options)] if options else []
    subprocess.run(["mount", "-t", "tmpfs", *words, "none", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def tiny_root(folder: Path) -> Path:
    """A root file system of one static program, and no mount points at all."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    for name in ("sh", "cat", "ls", "id", "echo", "sleep", "stat", "touch", "true", "head"):
        (folder / "bin" / name).symlink_to("busybox")
    return folder
