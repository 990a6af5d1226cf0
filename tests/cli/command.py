"""Running the installed command, and looking for what it left.

Law: helpers for tests; each process that they start is waited for.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROGRAM = str(Path(sys.executable).parent / "cgmgr")
STORE = Path("/var/lib/cgmgr/containers")
STATE = Path("/run/cgmgr")


def cgmgr(
    *words: str, text_in: str = "", environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; it gets a minute."""
    return subprocess.run(
        [PROGRAM, *words],
        input=text_in,
        env={**os.environ, **(environ or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def started(*words: str) -> "subprocess.Popen[str]":
    """Start a command; what it writes is to be read."""
    return subprocess.Popen(
        [PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )


def directories(name: str) -> list[Path]:
    """The directories of a group in all hierarchies."""
    return sorted(Path("/sys/fs/cgroup").glob(f"*/cgmgr/{name}"))


def left(name: str) -> list[Path]:
    """What is still there of a group or container."""
    records = [path for path in STATE.glob("*/*") if name in path.name]
    return [*directories(name), *STORE.glob(name), *records]
