"""The program of our helpers, as nobody can write to it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cgmgr.spawn import interpreter
from tests.leaks import mounts

from .containers import tmpfs


@pytest.fixture(params=["same-mount", "another-mount"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory on the mount of "/", or on one of its own."""
    if request.param == "another-mount":
        made = tmpfs(tmp_path, "mode=755")
        made.__enter__()
        request.addfinalizer(lambda: made.__exit__(None, None, None))
    return tmp_path


def test_it_is_the_same_file_and_cannot_be_written_to(place: Path) -> None:
    file = place / "program"
    file.write_text("program")
    before = mounts()

    fd, tree = interpreter.read_only(str(file))
    try:
        assert os.path.samestat(os.fstat(fd), file.stat())
        assert str(Path(f"/proc/self/fd/{fd}").readlink()) == str(file)
        with pytest.raises(OSError) as caught:
            os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        assert caught.value.errno == errno.EROFS
        assert mounts() == before
    finally:
        os.close(fd)
        os.close(tree)
    assert mounts() == before
    file.write_text("changed")


def test_python_starts_from_it_as_itself() -> None:
    fd, tree = interpreter.program(100)
    try:
        assert min(fd, tree) >= 100
        said = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                "import sys; print(sys.executable, sys.base_prefix)",
            ],
            executable=f"/proc/self/fd/{fd}",
            pass_fds=(fd,),
            check=True,
            capture_output=True,
            text=True,
        )
    finally:
        os.close(fd)
        os.close(tree)

    assert said.stdout.split() == [sys.executable, sys.base_prefix]
