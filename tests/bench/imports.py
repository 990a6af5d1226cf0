"""What importing the library costs a program that starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cgmgr

from .place import Bench
from .rounds import interleave
from .table import OVER, Row

HOW = """\
A process from its start to its end, `python -I -c CODE`, in a virtual environment that holds
nothing but cgmgr, laid out as the wheel lays it out and compiled. (In `.venv` the finder of the
editable install loads pathlib, re and contextlib at every start, which would hide what we import of
them.) Medians over many starts, bare and with an import in turn."""

SPENT = """\
the table of controllers, ctypes, and enum, which signal brings along, are the largest parts; what a
program does not touch is not loaded."""

ROUNDS = 60
BARE = "pass"
IMPORT = "import cgmgr"
TOUCHED = "import cgmgr; cgmgr.Resources, cgmgr.Group, cgmgr.run"


def measure(bench: Bench) -> list[Row]:
    python = clean_environment(bench)
    sides = [start(python, code) for code in (BARE, IMPORT, TOUCHED)]
    bare, imported, touched = interleave(sides, ROUNDS, warm_up=3)
    against = "bare python -I"
    return [
        Row("import cgmgr", "ms", imported, bare, against, aim=3, kind=OVER),
        Row("import; Resources, Group, run", "ms", touched, bare, against, aim=40, kind=OVER),
    ]


def clean_environment(bench: Bench) -> str:
    """The interpreter of a virtual environment into which the package is copied."""
    place = Path(bench.scratch, "venv")
    python = str(place / "bin" / "python")
    subprocess.run([bench.python, "-m", "venv", "--without-pip", place], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", ask], check=True, stdout=subprocess.PIPE, text=True)
    package = Path(cgmgr.__file__).parent  # the links to the wings are followed
    target = Path(site.stdout.strip(), "cgmgr")
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-m", "compileall", "-q", target], check=True)
    return python


def start(python: str, code: str) -> Callable[[], float]:
    """Milliseconds of one process."""
    command = [python, "-I", "-c", code]

    def sample() -> float:
        begin = time.perf_counter_ns()
        pid = os.posix_spawn(python, command, os.environ)
        status = os.waitpid(pid, 0)[1]
        spent = time.perf_counter_ns() - begin
        if status:
            raise AssertionError(f"{command} ended with status {status}")
        return spent / 1e6

    return sample
