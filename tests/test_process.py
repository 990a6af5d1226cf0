"""A process that was started: how it ends, and who may wait for it."""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from cgmgr import linux
from cgmgr.errors import DeadlineExceeded, RaceError
from cgmgr.spawn import PIPE, Ended, SpawnRequest, channel, process, start

from .spawning import ends, nothing_left


@pytest.fixture
def no_more_children() -> Iterator[None]:
    with nothing_left():
        yield


# --- how it ends


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        pytest.param("exit 0", Ended(exit=0), id="success"),
        pytest.param("exit 3", Ended(exit=3), id="failure"),
        pytest.param("exit 255", Ended(exit=255), id="highest status"),
        pytest.param("kill -9 $$", Ended(signal=9), id="killed"),
        pytest.param("kill -15 $$", Ended(signal=15), id="terminated"),
        pytest.param("ulimit -c 0; kill -6 $$", Ended(signal=6), id="aborted"),
    ],
)
def test_how_it_ends(script: str, ended: Ended, no_more_children: None) -> None:
    assert ends("sh", "-c", script) == ended


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        pytest.param(Ended(exit=0), 0, id="success"),
        pytest.param(Ended(exit=4), 4, id="failure"),
        pytest.param(Ended(signal=9), 137, id="signal"),
        pytest.param(Ended(), None, id="not known"),
    ],
)
def test_the_return_code_is_a_shells(ended: Ended, code: int | None) -> None:
    assert ended.returncode == code


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        pytest.param(3 << 8, Ended(exit=3), id="exit"),
        pytest.param(9, Ended(signal=9), id="signal"),
        pytest.param(6 | 0x80, Ended(signal=6, core_dumped=True), id="core"),
    ],
)
def test_wait_statuses(status: int, ended: Ended) -> None:
    assert Ended.of_status(status) == ended


def test_waiting_has_a_deadline(no_more_children: None) -> None:
    with start(SpawnRequest(argv=["sleep", "1000"])) as child:
        assert child.poll() is None
        assert child.returncode is None
        with pytest.raises(DeadlineExceeded) as caught:
            child.wait(0)
        assert caught.value.errno == errno.ETIMEDOUT
        child.kill()
        assert child.wait() == 137
        assert [child.poll(), child.returncode] == [137, 137]


def test_signals_go_to_it_alone_and_not_after_its_end() -> None:
    with start(SpawnRequest(argv=["sh", "-c", "trap 'exit 9' TERM; echo; read x"], stdin=PIPE,
                            stdout=PIPE)) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 9
        child.send_signal(signal.SIGTERM)
        child.kill()


def test_any_number_of_threads_may_wait() -> None:
    with start(SpawnRequest(argv=["cat"], stdin=PIPE)) as child:
        codes: list[int] = []
        waiting = [threading.Thread(target=lambda: codes.append(child.wait())) for _ in range(8)]
        for thread in waiting:
            thread.start()
        assert child.stdin is not None
        child.stdin.close()
        for thread in waiting:
            thread.join()
    assert codes == [0] * 8


def test_a_dropped_process_is_reaped_at_a_later_start(no_more_children: None) -> None:
    child = start(SpawnRequest(argv=["cat"], stdin=PIPE))
    pidfd, stdin = os.dup(child.pidfd), child.stdin
    assert stdin is not None
    keep = os.dup(stdin.fileno())
    child.close()
    assert process.orphans
    os.close(keep)
    assert process.readable(pidfd, 60)
    os.close(pidfd)

    process.reap_orphans()

    assert not process.orphans


def test_the_body_that_raises_ends_it(no_more_children: None) -> None:
    with pytest.raises(ZeroDivisionError), start(SpawnRequest(argv=["sleep", "1000"])):
        raise ZeroDivisionError


def kernel_keeps_statuses() -> bool:
    pid = os.fork()
    if not pid:
        os._exit(5)
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    try:
        return linux.pidfd_exit_status(pidfd) == 5 << 8
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("script", ["exit 5", "kill -9 $$"])
def test_a_status_that_somebody_else_took(script: str) -> None:
    """Known from the pidfd on new kernels, said to be unknown on others."""
    with start(SpawnRequest(argv=["sh", "-c", script])) as child:
        os.waitpid(child.pid, 0)
        if kernel_keeps_statuses():
            assert child.wait_ended() == (Ended(exit=5) if "exit" in script else Ended(signal=9))
        else:
            with pytest.raises(RaceError, match="taken by somebody else"):
                child.wait()


def test_an_unknown_end_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "pidfd_exit_status", lambda pidfd: None)  # pyright: ignore
    with start(SpawnRequest(argv=["true"])) as child:
        os.waitpid(child.pid, 0)
        assert child.wait_ended() == Ended()
        with pytest.raises(RaceError) as caught:
            child.wait()
        assert caught.value.errno == errno.ECHILD


def test_poll_is_not_asked_for_more_than_it_can() -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"x")
        assert process.readable(read, 1e9)
        assert process.milliseconds(1e9) is None
        assert process.milliseconds(-1) == 0
        select.poll().poll(process.milliseconds(0))
    finally:
        channel.close_all((read, write))
