"""What the tests of starting processes have in common."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from cgmgr.spawn import PIPE, Ended, SpawnRequest, link, start

ROOT = Path(__file__).parent.parent


def output(*argv: str, **fields: Any) -> str:
    """What a command writes; it must succeed."""
    with start(SpawnRequest(argv=argv, stdout=PIPE, **fields)) as child:
        assert child.stdout is not None
        text: str = child.stdout.read().decode()
        assert child.wait() == 0
    return text


def ends(*argv: str, **fields: Any) -> Ended:
    with start(SpawnRequest(argv=argv, **fields)) as child:
        return child.wait_ended()


def called(entry: str, data: bytes = b"", **fields: Any) -> tuple[str, int]:
    """What an entry writes, and how it ends."""
    request = SpawnRequest(entry=f"tests.spawn_entries:{entry}", data=data, stdout=PIPE, **fields)
    with start(request) as child:
        assert child.stdout is not None
        return child.stdout.read().decode(), child.wait()


def status_of(*, of: str = "/proc/self/status", **fields: Any) -> dict[str, str]:
    lines = output("cat", of, **fields).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def children() -> set[int]:
    """Of this process, whatever thread has them, zombies too."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@contextlib.contextmanager
def nothing_left() -> Generator[None]:
    """What is done inside leaves neither a child nor a zombie, the spawner apart."""
    before = children() - {link.pid()}
    yield
    assert children() - {link.pid()} <= before


def python(code: str, *, timeout: float = 60.0, **options: Any) -> str:
    """What a Python program prints that starts processes by itself; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", f"from cgmgr.spawn import *\nimport os, signal\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    text: str = done.stdout
    return text
