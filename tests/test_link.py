"""The spawner: one a process, replaced when it must be, gone when its caller is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.errors import CgmgrError, DeadlineExceeded, HostError
from cgmgr.spawn import SpawnRequest, link, process, shutdown, start

from .spawning import ROOT, children, nothing_left, output, python


@pytest.fixture
def no_more_children() -> Iterator[None]:
    with nothing_left():
        yield


# --- the spawner


def test_many_threads_start_at_once(no_more_children: None) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for _ in range(10):
                with start(SpawnRequest(argv=["sh", "-c", f"exit {number}"])) as child:
                    if child.wait() != number:
                        wrong.append((number, child.ended))
        except CgmgrError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_that_was_killed_is_replaced() -> None:
    output("true")
    first = link.pid()
    assert first is not None
    pidfd = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    assert process.readable(pidfd, 60)
    os.close(pidfd)

    assert output("echo", "again") == "again\n"
    assert link.pid() != first
    output("true")
    shutdown()
    assert first not in children(), "no zombie"


def test_shutdown_leaves_no_child_and_can_be_repeated() -> None:
    output("true")
    before = link.pid()
    shutdown()
    shutdown()
    assert before not in children()
    assert link.pid() is None
    output("true")


def test_it_ignores_what_the_terminal_sends() -> None:
    output("true")
    first = link.pid()
    assert first is not None
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        os.kill(first, number)
    output("true")
    assert link.pid() == first


def test_it_has_none_of_our_descriptors() -> None:
    shutdown()
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        output("true")
        opened = {
            entry.name: os.readlink(entry)  # noqa: PTH115
            for entry in Path(f"/proc/{link.pid()}/fd").iterdir()
        }
        assert opened.pop("3").startswith("socket:")
        assert opened == dict.fromkeys("012", "/dev/null")
    finally:
        os.close(fd)


def test_a_forked_caller_has_its_own_and_ours_goes_on() -> None:
    output("true")
    mine = link.pid()
    pid = os.fork()
    if not pid:
        try:
            output("true")
            os._exit(0 if link.pid() not in (None, mine) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert output("echo", "still here") == "still here\n"
    assert link.pid() == mine


def wait_until_gone(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            return process.readable(pidfd, 60)
        finally:
            os.close(pidfd)
    return True


STARTED = (
    "start(SpawnRequest(argv=['true'])).wait(); from cgmgr.spawn import link; print(link.pid())\n"
)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("", id="ends"),
        pytest.param("os._exit(0)", id="ends at once"),
        pytest.param("os.fork() or (os.close(1), os.close(2), __import__('time').sleep(3))",
                     id="leaves a child behind"),
    ],
)  # fmt: skip
def test_it_ends_with_its_caller(how: str) -> None:
    pid = int(python(f"{STARTED}import sys; sys.stdout.flush()\n{how}"))
    if not how:
        assert not Path(f"/proc/{pid}").exists(), "a caller that ends as it should waits for it"
    assert wait_until_gone(pid)


def test_it_ends_with_a_caller_that_is_killed() -> None:
    code = f"from cgmgr.spawn import *\n{STARTED}import sys; sys.stdout.flush(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        caller.kill()
        caller.wait()
        assert wait_until_gone(pid)


def test_one_that_cannot_start_says_how_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown()
    monkeypatch.setattr(link, "SCRIPT", "/no/such/script.py")
    try:
        with pytest.raises(CgmgrError) as caught:
            start(SpawnRequest(argv=["true"]))
        assert caught.value.hint
        monkeypatch.setattr(sys, "executable", "")
        with pytest.raises(HostError, match=r"sys\.executable"):
            start(SpawnRequest(argv=["true"]))
    finally:
        shutdown()


@pytest.fixture
def stopped() -> Iterator[int]:
    """A spawner that answers nobody, as one that hangs."""
    output("true")
    pid = link.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    yield pid
    shutdown()


def test_one_that_does_not_answer_is_not_waited_for(stopped: int) -> None:
    with pytest.raises(DeadlineExceeded, match=f"the spawner, process {stopped}, does not answer"):
        start(SpawnRequest(argv=["true"]), timeout=0.1)
    assert link.pid() is None
    assert output("echo", "from another") == "from another\n"
    shutdown()
    assert stopped not in children(), "no zombie"


def test_one_that_does_not_end_is_ended(stopped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "END_S", 0.1)
    shutdown()
    assert wait_until_gone(stopped)
    assert stopped not in children(), "no zombie"


def test_one_that_fails_at_once_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "spawner.py"
    script.write_text("raise SystemExit('broken')\n")
    shutdown()
    monkeypatch.setattr(link, "SCRIPT", str(script))
    try:
        for _ in range(3):
            with pytest.raises(CgmgrError, match=r"the spawner ended|it ends as soon as"):
                start(SpawnRequest(argv=["true"]))
    finally:
        shutdown()


def test_threads_with_other_namespaces_and_rights_get_what_is_theirs() -> None:
    code = """
from cgmgr import linux
from cgmgr.spawn import link
def net():
    with start(SpawnRequest(argv=["readlink", "/proc/self/ns/user"], stdout=PIPE)) as p:
        return p.stdout.read().strip().decode()
outer = net()
first = link.pid()
linux.unshare(linux.CLONE_NEWUSER)
assert net() == os.readlink("/proc/self/ns/user") != outer
assert link.pid() != first
"""
    python(code)
