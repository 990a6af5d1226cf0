"""Starting processes, without groups: what can be asked for, what cannot be executed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import DeadlineExceeded, HostError, KernelError, RequestError
from cgmgr.spawn import (
    DEVNULL,
    PIPE,
    STDOUT,
    AsyncProcess,
    Placement,
    SpawnRequest,
    astart_as,
    birth,
    process,
    start,
    streams,
)

from .spawning import called, nothing_left, output


@pytest.fixture
def no_more_children() -> Iterator[None]:
    with nothing_left():
        yield


# --- what cannot be executed


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Two folders of programs: some cannot be executed."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    for path, text, mode in (
        ("first/plain", "#!/bin/sh\necho first", 0o644),
        ("second/plain", "#!/bin/sh\necho second", 0o755),
        ("first/refused", "#!/bin/sh\n", 0o644),
        ("first/odd", "no first line\n", 0o755),
        ("first/orphan", "#!/nowhere/interpreter\n", 0o755),
        ("here", "#!/bin/sh\necho here", 0o755),
    ):
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    ("program", "number"),
    [
        pytest.param("no-such-program", errno.ENOENT, id="nowhere on PATH"),
        pytest.param("/no/such/program", errno.ENOENT, id="no such path"),
        pytest.param("/etc/passwd/x", errno.ENOTDIR, id="not a folder"),
        pytest.param("/etc/passwd", errno.EACCES, id="not executable"),
        pytest.param("/etc", errno.EACCES, id="a folder"),
        pytest.param("refused", errno.EACCES, id="refused and not found elsewhere"),
        pytest.param("odd", errno.ENOEXEC, id="no format"),
        pytest.param("orphan", errno.ENOENT, id="a script without its interpreter"),
        pytest.param("here", errno.ENOENT, id="an empty entry of PATH is not here"),
    ],
)
def test_what_cannot_be_executed(
    program: str, number: int, programs: Path, no_more_children: None
) -> None:
    env = {"PATH": f":{programs}/first:{programs}/second:"}
    with pytest.raises(KernelError) as caught:
        start(SpawnRequest(argv=[program, "x"], env=env, cwd=programs))

    error = caught.value
    assert (error.errno, error.operation, error.path) == (number, "exec", program)
    assert program in str(error)


def test_path_is_the_childs(programs: Path) -> None:
    env = {"PATH": f"{programs}/first:{programs}/second"}
    assert output("plain", env=env) == "second\n", "what is refused is looked for further on"
    assert output("./here", cwd=programs) == "here\n"
    assert output("here", executable="./here", cwd=programs) == "here\n"
    assert output("x", executable="/bin/sh", cwd=programs, stdin=DEVNULL) == ""


def test_arguments_can_be_too_many() -> None:
    with pytest.raises(KernelError) as caught:
        start(SpawnRequest(argv=["true", *["x" * 100_000] * 100]))
    assert caught.value.errno == errno.E2BIG
    assert "ulimit -s unlimited" in str(caught.value.hint)


@pytest.mark.parametrize("where", ["argv", "env"])
def test_one_word_can_be_too_long(where: str) -> None:
    most = 32 * os.sysconf("SC_PAGE_SIZE") - 1
    request = SpawnRequest(argv=["true"], env={"x": "x" * (most - 1)})
    if where == "argv":
        request = SpawnRequest(argv=["true", "x" * (most + 1)])
    with pytest.raises(KernelError, match=rf"one word has {most + 1} bytes") as caught:
        start(request)
    assert caught.value.errno == errno.E2BIG
    assert caught.value.hint is None, "no limit of a user's can be raised"

    assert start(SpawnRequest(argv=["true", "x" * most])).wait() == 0


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"argv": []}, id="empty argv"),
        pytest.param({"argv": "true"}, id="argv is a text"),
        pytest.param({"argv": [""]}, id="no name"),
        pytest.param({"argv": ["true"], "executable": ""}, id="no executable"),
        pytest.param({"argv": ["a\0b"]}, id="NUL in argv"),
        pytest.param({"argv": ["true"], "cwd": "a\0b"}, id="NUL in cwd"),
        pytest.param({"argv": ["true"], "env": {"a\0": "b"}}, id="NUL in a name"),
        pytest.param({"argv": ["true"], "env": {"a": "\0"}}, id="NUL in a value"),
        pytest.param({"argv": ["true"], "env": {"a=b": "c"}}, id="= in a name"),
        pytest.param({"argv": ["true"], "env": {"": "c"}}, id="a variable without a name"),
        pytest.param({"argv": ["true"], "entry": "a:b"}, id="argv and entry"),
        pytest.param({"entry": "os"}, id="no function"),
        pytest.param({"entry": ":x"}, id="no module"),
        pytest.param({"argv": ["true"], "rlimits": {4: (2, 1)}}, id="soft above hard"),
        pytest.param({"argv": ["true"], "rlimits": {4: (-1, 1)}}, id="soft without limit"),
        pytest.param({"argv": ["true"], "rlimits": {99: (1, 1)}}, id="no such rlimit"),
        pytest.param({"argv": ["true"], "uid": -1}, id="no user"),
        pytest.param({"argv": ["true"], "groups": [1 << 32]}, id="no group"),
        pytest.param({"argv": ["true"], "stdin": STDOUT}, id="stdin is stdout"),
        pytest.param({"argv": ["true"], "stdin": -7}, id="no stream"),
        pytest.param({"argv": ["true"], "pass_fds": [0] * 3 + [3] * 300}, id="too many fds"),
    ],
)
def test_requests_that_make_no_sense(fields: dict[str, Any], no_more_children: None) -> None:
    opened = os.open("/dev/null", os.O_RDONLY)
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        if "pass_fds" in fields:
            fields["pass_fds"] = [opened] * 300
        with pytest.raises(RequestError):
            start(SpawnRequest(**fields))
        assert len(list(Path("/proc/self/fd").iterdir())) <= before, "descriptors are closed"
    finally:
        os.close(opened)


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        pytest.param({"cwd": "/no/such/folder"}, errno.ENOENT, id="no such folder"),
        pytest.param({"cwd": "/etc/passwd"}, errno.ENOTDIR, id="a file"),
        pytest.param({"pass_fds": [987]}, errno.EBADF, id="a closed descriptor"),
        pytest.param({"stdout": 987}, errno.EBADF, id="a closed stream"),
    ],
)
def test_what_the_kernel_refuses(fields: dict[str, Any], number: int) -> None:
    with pytest.raises(KernelError) as caught:
        start(SpawnRequest(argv=["true"], **fields))
    assert caught.value.errno == number


# --- entries


def test_an_entry_is_called_in_the_new_process() -> None:
    assert called("tell", b"x" * 200_000)[0].startswith("x" * 200_000)
    assert called("tell", b"again") == ("again [] [0, 1, 2]", 7)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param("no_such_module:x", "No module named", id="no module"),
        pytest.param("tests.spawn_entries:no_such", "no attribute", id="no function"),
    ],
)
def test_an_entry_that_is_not_there(entry: str, message: str, no_more_children: None) -> None:
    with pytest.raises(HostError, match=message):
        start(SpawnRequest(entry=entry))
    assert called("tell")[1] == 7, "the spawner goes on"


@pytest.mark.parametrize(("entry", "words"), [("come_back", ""), ("fail", "an entry that fails")])
def test_an_entry_that_comes_back(entry: str, words: str) -> None:
    text, code = called(entry, stderr=STDOUT)
    assert code == 255
    assert words in text


# --- held


def test_a_held_process_waits_until_it_is_released() -> None:
    child = start(SpawnRequest(argv=["echo", "free"], stdout=PIPE, hold=True))
    with child:
        assert Path(f"/proc/{child.pid}/comm").read_text() == "cgmgr-spawner\n"
        assert child.poll() is None
        child.release()
        assert child.stdout is not None
        assert child.stdout.read() == b"free\n"
        assert child.wait() == 0


def test_a_held_process_that_cannot_execute(no_more_children: None) -> None:
    child = start(SpawnRequest(argv=["/no/such/program"], hold=True))
    with pytest.raises(KernelError) as caught:
        child.release()
    assert (caught.value.errno, caught.value.operation) == (errno.ENOENT, "exec")


def test_a_held_process_that_nobody_wants_ends() -> None:
    child = start(SpawnRequest(argv=["sleep", "1000"], hold=True))
    pidfd = os.dup(child.pidfd)
    child.close()
    assert process.readable(pidfd, 60)
    os.close(pidfd)
    process.reap_orphans()


def test_releasing_twice_is_refused() -> None:
    with start(SpawnRequest(argv=["true"], hold=True)) as child:
        child.release()
        with pytest.raises(KernelError):
            child.release()


# --- interrupted


def test_interrupted_before_it_is_known(
    monkeypatch: pytest.MonkeyPatch, no_more_children: None
) -> None:
    """^C between the request and the answer leaves no process."""

    def interrupted(_birth: birth.Birth, _until: str) -> bool:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(birth.Birth, "_hear", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(SpawnRequest(argv=["sleep", "1000"]))


def test_a_start_has_a_deadline(no_more_children: None, tmp_path: Path) -> None:
    """A program on a FIFO is never executed: opening it waits for a writer."""
    held = start(SpawnRequest(argv=["true"], hold=True))
    with pytest.raises(DeadlineExceeded):
        held._birth.wait(0.0, birth.OVER)  # pyright: ignore[reportPrivateUsage]
    held.kill()
    held.wait_ended()
    held.close()


# --- asyncio


def test_asyncio_starts_and_waits() -> None:
    async def main() -> list[int]:
        async def one(number: int) -> int:
            request = SpawnRequest(argv=["sh", "-c", f"read x; exit {number}"], stdin=PIPE)
            async with await astart_as(AsyncProcess, request) as child:
                assert child.stdin is not None
                child.stdin.close()
                return await child.wait()

        return list(await asyncio.gather(*(one(number) for number in range(5))))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_asyncio_says_what_cannot_be_executed(no_more_children: None) -> None:
    async def main() -> None:
        await astart_as(AsyncProcess, SpawnRequest(argv=["/no/such/program"]))

    with pytest.raises(KernelError) as caught:
        asyncio.run(main())
    assert caught.value.errno == errno.ENOENT


def test_asyncio_pumps() -> None:
    data = os.urandom(1 << 19)

    async def main() -> bytes | None:
        request = SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE)
        async with await astart_as(AsyncProcess, request) as child:
            pump = streams.Pump(child, data)
            await pump.arun()
            return pump.stdout

    assert asyncio.run(main()) == data


def test_a_placement_closes_what_it_opened() -> None:
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
    Placement(cgroup_fd=fds[0], procs_fds=(fds[1],)).close()
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_a_start_is_timed_by_the_process_and_not_by_its_caller() -> None:
    """However late the caller hears of it."""
    with contextlib.closing(birth.Birth(SpawnRequest(argv=["true"]))) as born:
        born.wait(None, birth.BORN)
        assert process.readable(born.pidfd, 10)
        ended_ns = time.monotonic_ns()
        born.wait(None, birth.OVER)
        assert 0 < born.began_ns < ended_ns
        assert process.reap(born.pidfd).exit == 0
        os.close(born.pidfd)
