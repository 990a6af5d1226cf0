"""A run that is told to end takes down what its tests made."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

A_TEST = """
import pathlib, signal, pytest

@pytest.fixture
def made(tmp_path):
    path = pathlib.Path(__file__).parent / "made"
    path.write_text("")
    yield path
    path.unlink()

def test_that_takes_long(made, capfd):
    with capfd.disabled():
        print("ready", flush=True)
    while True:
        signal.pause()
"""


def test_sigterm_is_an_orderly_end(tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(A_TEST)
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rootdir", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        while "ready" not in (line := run.stdout.readline()):
            assert line, "it ended"
        assert (tmp_path / "made").exists()
        run.terminate()
        said = run.stdout.read()

    assert not (tmp_path / "made").exists()
    assert run.returncode == 2
    assert "KeyboardInterrupt" in said
