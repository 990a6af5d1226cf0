"""Running the installed command, and looking for what it left.

Law: helpers for tests; each process that they start is waited for.
"""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Generator, Mapping
from pathlib import Path

PROGRAM = str(Path(sys.executable).parent / "cgmgr")
STORE = Path("/var/lib/cgmgr/containers")
STATE = Path("/run/cgmgr")
#: no test takes so long
MOST_S = 60


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


@contextlib.contextmanager
def started(*words: str) -> "Generator[subprocess.Popen[str]]":
    """A command under way; what it writes is to be read.

    It has ^C as from a terminal even where this run was started with it ignored, as a shell does
    to what it puts into the background.  On the way out it is killed, whatever the test did, and
    also when it writes no line that a test waits for.
    """
    process = subprocess.Popen(
        ["env", "--default-signal=INT,QUIT", PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = threading.Timer(MOST_S, process.kill)
    limit.start()
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        limit.cancel()
        limit.join()


def directories(name: str) -> list[Path]:
    """The directories of a group in all hierarchies."""
    return sorted(Path("/sys/fs/cgroup").glob(f"*/cgmgr/{name}"))


def left(name: str) -> list[Path]:
    """What is still there of a group or container."""
    records = [path for path in STATE.glob("*/*") if name in path.name]
    return [*directories(name), *STORE.glob(name), *records]


class Screen:
    """A terminal with a command in it."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(self.master)
        # setsid -c makes it the controlling terminal, so that its changes of size are told
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", PROGRAM, *words], stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> None:
        while text not in self.seen:
            assert select.select([self.master], [], [], 30)[0], f"only {self.seen!r}"
            try:
                data = os.read(self.master, 4096)
            except OSError:
                data = b""
            assert data, f"it ended with {self.seen!r}"
            self.seen += data.decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        status = self.process.wait(30)
        self.after = termios.tcgetattr(self.master)
        os.close(self.master)
        return status
