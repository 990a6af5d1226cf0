"""A small program that runs commands when it is told to, and says how long each took.

    python -m tests.bench.timer [DIRECTORY...]

Each DIRECTORY is hidden below an empty one, in a mount namespace of this program's own: nobody but
its commands sees that, and what they leave there goes with it.  A line on its input is a command as
a JSON list; the answer is its microseconds, from start to end, and its exit status.  The commands'
input and output are empty, their errors are on stderr.  Processes that they leave behind become
children of this program, which ends when the last of them has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress

from cgmgr import linux

#: how long to wait for processes that commands left behind
PATIENCE_S = 10


@contextmanager
def timer(python: str, *hidden: str) -> Generator[Callable[[Sequence[str]], float]]:
    """This program, as a function: milliseconds of one command, which has to succeed."""
    program = [python, "-m", "tests.bench.timer", *hidden]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, text=True, stdin=pipe, stdout=pipe) as running:
        talk_to, answers = running.stdin, running.stdout
        assert talk_to is not None and answers is not None

        def sample(command: Sequence[str]) -> float:
            talk_to.write(json.dumps(command) + "\n")
            talk_to.flush()
            usec, status = answers.readline().split()
            if int(status):
                raise AssertionError(f"{' '.join(command)} ended with status {status}")
            return float(usec) / 1000

        try:
            yield sample
        finally:
            talk_to.close()


def hide(directories: Sequence[str]) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    for directory in directories:
        linux.mount("tmpfs", directory, "tmpfs")


def run(command: list[str]) -> tuple[float, int]:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    begin = time.perf_counter_ns()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return (time.perf_counter_ns() - begin) / 1000, status


def reap(options: int) -> None:
    """Whoever has ended, or with options 0 all that there are."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def main(directories: Sequence[str]) -> None:
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    hide(directories)
    with suppress(BrokenPipeError):  # nobody wants to know any more
        for line in sys.stdin:
            usec, status = run(json.loads(line))
            print(usec, status, flush=True)
            reap(os.WNOHANG)
    signal.alarm(PATIENCE_S)
    reap(0)


if __name__ == "__main__":
    main(sys.argv[1:])
