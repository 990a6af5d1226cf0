"""A bundle, and cgmgr-oci as a client calls it: a process of its own for each command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.command import directories

from .containers import tiny_root

PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from cgmgr.runtime.oci.main import main; sys.exit(main())",
)


class Client:
    """One root of state and one bundle, both gone afterwards."""

    def __init__(self, folder: Path, token: str) -> None:
        self.state = folder / "state"
        self.bundle = folder / "bundle"
        self.id = f"{token}-oci"
        self.rootfs = tiny_root(self.bundle / "rootfs")
        for name in ("proc", "sys", "dev", "tmp", "etc"):
            (self.rootfs / name).mkdir()
        self.oci("spec", "--bundle", str(self.bundle))
        self.change(terminal=False)

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        return found

    def write(self, config: object) -> None:
        (self.bundle / "config.json").write_text(json.dumps(config))

    def change(self, *args: str, **fields: Any) -> None:
        """Another program, or other fields of the process."""
        config = self.config
        config["process"] |= fields
        if args:
            config["process"]["args"] = list(args)
        self.write(config)

    def limit(self, **resources: Any) -> None:
        config = self.config
        config["linux"]["resources"] = resources
        self.write(config)

    def argv(self, *words: str) -> list[str]:
        return [*PROGRAM, "--root", str(self.state), *words]

    def oci(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"stdin": subprocess.DEVNULL, "capture_output": True} | options
        return subprocess.run(self.argv(*words), check=False, text=True, timeout=60, **options)

    def done(self, *words: str, **options: Any) -> str:
        """The output of a command that succeeds and says nothing besides."""
        ended = self.oci(*words, **options)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    def fails(self, *words: str, status: int = 1, **options: Any) -> str:
        ended = self.oci(*words, **options)
        assert (ended.returncode, ended.stdout) == (status, ""), ended
        return ended.stderr

    def create(self, *words: str, output: Path | None = None) -> None:
        """A container in the test's bundle, whose output goes to a file: it outlives `create`."""
        with (output or self.bundle / "output").open("wb") as sink:
            options = {"stdout": sink, "stderr": sink, "capture_output": False}
            ended = self.oci("create", "--bundle", str(self.bundle), *words, self.id, **options)
        assert ended.returncode == 0, self.output()

    def output(self) -> str:
        return (self.bundle / "output").read_text()

    def status(self) -> str:
        state: dict[str, Any] = json.loads(self.done("state", self.id))
        return str(state["status"])

    def wait(self, status: str) -> None:
        while self.status() != status:
            pass

    def left(self) -> list[str]:
        """Not the record of a parent that others use, too."""
        files = [str(path.relative_to(self.state)) for path in self.state.rglob("*")]
        return [*(file for file in files if self.id in file), *map(str, directories(self.id))]


@contextmanager
def client(folder: Path, token: str) -> Generator[Client]:
    made = Client(folder, token)
    try:
        yield made
    finally:
        made.oci("delete", "--force", made.id)
        assert made.left() == []
