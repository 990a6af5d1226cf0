"""Starting processes, without groups: what they inherit, what they do not, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgmgr import birth, channel, link, linux, process, streams
from cgmgr.errors import (
    CgmgrError,
    DeadlineExceeded,
    HostError,
    KernelError,
    RaceError,
    RequestError,
)
from cgmgr.spawn import (
    DEVNULL,
    PIPE,
    STDOUT,
    Ended,
    Placement,
    Process,
    SpawnRequest,
    astart_as,
    shutdown,
    start,
)

from .spawn_entries import is_open

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


@pytest.fixture
def no_more_children() -> Iterator[None]:
    """The test leaves neither a child nor a zombie, the spawner apart."""
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


# --- what it inherits, and what not


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.lists(st.binary(max_size=20).filter(lambda word: b"\0" not in word), max_size=5),
    value=st.binary(max_size=20).filter(lambda word: b"\0" not in word),
)
def test_words_arrive_as_they_were(words: list[bytes], value: bytes) -> None:
    script = 'printf "%s\\0" "$VALUE" "$@"'
    env = {"VALUE": os.fsdecode(value)}
    with start(
        SpawnRequest(argv=["/bin/sh", "-c", script, "sh", *words], env=env, stdout=PIPE)
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read().split(b"\0")[:-1] == [value, *words]


def test_a_request_larger_than_a_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["x" * 100_000] * 12
    monkeypatch.setenv("LARGE", "y" * 100_000)
    assert output("sh", "-c", 'echo $# "${#LARGE}"', "sh", *words) == "12 100000\n"


def test_the_environment_is_ours_at_this_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGMGR_TEST", "one")
    assert output("sh", "-c", "echo $CGMGR_TEST") == "one\n"
    monkeypatch.setenv("CGMGR_TEST", "two")
    assert output("sh", "-c", "echo $CGMGR_TEST") == "two\n"
    assert output("/usr/bin/env", env={"A": "b"}) == "A=b\n"


def test_the_directory_is_ours_at_this_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    assert output("/bin/pwd") == f"{tmp_path}\n"
    assert output("/bin/pwd", cwd="below") == f"{tmp_path}/below\n"
    assert output("/bin/pwd", cwd=b"/") == "/\n"


def test_a_removed_directory_can_be_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert output("readlink", "/proc/self/cwd").endswith("gone (deleted)\n")


def test_the_umask_is_ours_at_this_moment() -> None:
    before = os.umask(0o026)
    try:
        assert status_of()["Umask"] == "0026"
        os.umask(0o077)
        assert status_of()["Umask"] == "0077"
        assert status_of(umask=0o002)["Umask"] == "0002"
    finally:
        os.umask(before)


def test_rlimits_are_ours_at_this_moment_or_as_asked() -> None:
    code = """
import resource
ask = ["sh", "-c", "ulimit -Sn; ulimit -Hn"]
def said(**fields):
    with start(SpawnRequest(argv=ask, stdout=PIPE, **fields)) as p:
        return p.stdout.read().split()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
assert said() == [b"100", b"%d" % hard], said()
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 200))
assert said() == [b"90", b"200"], said()
assert said(rlimits={resource.RLIMIT_NOFILE: (50, 60)}) == [b"50", b"60"]
"""
    python(code)


def test_every_signal_is_at_its_default_and_unblocked() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, nohup ignores SIGHUP; both would survive exec."""
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
with start(SpawnRequest(argv=["cat", "/proc/self/status"], stdout=PIPE)) as p:
    print(p.stdout.read().decode())
"""
    lines = [line.split() for line in python(code).splitlines() if line.startswith("Sig")]
    masks = {key: int(value, 16) for key, value in lines if key != "SigQ:"}
    assert masks == {"SigPnd:": 0, "SigBlk:": 0, "SigIgn:": 0, "SigCgt:": 0}


def test_yes_ends_when_head_does() -> None:
    """The pipeline hangs, or yes complains, where SIGPIPE is ignored."""
    with start(
        SpawnRequest(argv=["sh", "-c", "yes | head -n 1"], stdout=PIPE, stderr=STDOUT)
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read() == b"y\n"


def test_any_cpu_whatever_ours_are() -> None:
    mine = os.sched_getaffinity(0)
    everywhere = status_of()["Cpus_allowed_list"]
    shutdown()  # the next spawner is pinned as we are
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert status_of()["Cpus_allowed_list"] == everywhere
    finally:
        os.sched_setaffinity(0, mine)
        shutdown()


def test_the_session_keyring_is_not_ours() -> None:
    code = """
from cgmgr import linux
from tests.spawn_entries import session_keyring_id
linux.keyctl_join_session_keyring()
with start(SpawnRequest(entry="tests.spawn_entries:session_keyring", stdout=PIPE)) as child:
    print(session_keyring_id(), child.stdout.read().decode())
"""
    ours, theirs = (int(word) for word in python(code).split())
    assert ours > 0
    assert theirs > 0
    assert ours != theirs


def test_the_process_group_is_ours_and_a_session_can_be_had() -> None:
    shown = output("sh", "-c", "echo $$; cut -d' ' -f5,6 /proc/$$/stat")
    assert shown.split()[1:] == [str(os.getpgrp()), str(os.getsid(0))]
    pid, group, session = output(
        "sh", "-c", "echo $$; cut -d' ' -f5,6 /proc/$$/stat", new_session=True
    ).split()
    assert pid == group == session


def test_a_new_session_or_process_group_of_ours_is_followed() -> None:
    code = """
def place():
    with start(SpawnRequest(argv=["cut", "-d ", "-f5,6", "/proc/self/stat"], stdout=PIPE)) as p:
        return p.stdout.read().split()
place()
pid = os.fork()
if not pid:
    place()
    os.setpgid(0, 0)
    os._exit(0 if place()[0] == b"%d" % os.getpid() else 1)
assert os.waitpid(pid, 0)[1] == 0
os.setsid()
assert place() == [b"%d" % os.getpid()] * 2, place()
"""
    python(code)


def test_our_niceness_is_followed() -> None:
    code = """
def nice():
    with start(SpawnRequest(argv=["nice"], stdout=PIPE)) as p:
        return int(p.stdout.read())
before = nice()
os.nice(3)
assert nice() == before + 3, nice()
"""
    python(code)


def test_it_is_our_child() -> None:
    assert int(status_of()["PPid"]) == os.getpid()


# --- descriptors


def test_nothing_is_open_but_what_was_passed() -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    high = os.dup2(write, 50, inheritable=True)
    try:
        text, code = called("tell", b"data", pass_fds=[high])
        assert (text, code) == ("data [50] [0, 1, 2, 50]", 7)
        script = "for fd in /proc/self/fd/*; do echo ${fd##*/}; done"
        opened = set(output("sh", "-c", script, pass_fds=[high]).split())
        assert {"0", "1", "2", "50"} <= opened
        assert str(read) not in opened - {"3"}
        assert len(opened) == 5, "and the folder itself"
    finally:
        for fd in (read, write, high):
            os.close(fd)


def test_numbers_may_be_those_that_the_spawner_uses() -> None:
    """What is passed keeps its number though the spawner has received something else under it."""
    read, write = os.pipe()
    numbers = [fd for fd in range(3, 30) if not is_open(fd)]
    try:
        for number in numbers:
            os.dup2(write, number)
        text, code = called("tell", bytes(numbers[-1:]), pass_fds=numbers)
        assert code == 7
        assert text.endswith(f"{numbers} {[0, 1, 2, *numbers]}")
    finally:
        channel.close_all((read, write, *numbers))


@pytest.mark.parametrize("number", range(3, 9))
def test_nothing_is_left_open_when_one_number_is_taken(number: int) -> None:
    code = f"""
os.dup2(1, {number})
start(SpawnRequest(entry="tests.spawn_entries:tell", pass_fds=[{number}])).wait()
"""
    assert python(code).split(" ", 2)[1:] == [f"[{number}]", f"[0, 1, 2, {number}]"]


def test_streams_may_be_crossed() -> None:
    code = """
a, b = os.pipe(), os.pipe()
os.dup2(a[1], 1); os.dup2(b[1], 2)
number = os.dup2(a[1], 30)
script = "echo to-out; echo to-err >&2; echo to-thirty >/proc/self/fd/30"
start(SpawnRequest(argv=["sh", "-c", script], stdout=2, stderr=1, pass_fds=[30])).wait()
crossed = os.read(a[0], 100), os.read(b[0], 100)
os._exit(0 if crossed == (b"to-err\\nto-thirty\\n", b"to-out\\n") else 1)
"""
    python(code)


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1, 2)])
def test_a_stream_that_is_closed_here_is_the_null_device_there(closed: tuple[int, ...]) -> None:
    code = f"""
os.dup2(1, 9)
for fd in {closed}: os.close(fd)
p = start(SpawnRequest(entry="tests.spawn_entries:streams", data=bytes({closed}), pass_fds=[9]))
os._exit(p.wait())
"""
    assert python(code, stdin=subprocess.DEVNULL).split() == ["/dev/null"] * len(closed)


def test_pipes_and_other_streams(tmp_path: Path) -> None:
    with start(SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE)) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is None
        child.stdin.write(b"there and back")
        child.stdin.close()
        assert child.stdout.read() == b"there and back"
    with (tmp_path / "out").open("wb") as file:
        ends("sh", "-c", "echo out; echo err >&2", stdout=file, stderr=STDOUT)
    assert (tmp_path / "out").read_text() == "out\nerr\n"
    assert output("sh", "-c", "readlink /proc/$$/fd/0", stdin=DEVNULL) == "/dev/null\n"


def test_no_descriptor_is_left_with_us() -> None:
    def cycle() -> None:
        with start(SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE)) as child:
            child.kill()
        with pytest.raises(KernelError):
            start(SpawnRequest(argv=["/no/such/program"], stdin=PIPE, stdout=PIPE))

    cycle()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        cycle()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- bytes in and out


def communicate(child: Process, data: bytes | None = None, limit: int | None = None) -> Any:
    pump = streams.Pump(child, data, limit_bytes=limit)
    assert pump.run(None)
    return pump


def test_more_than_a_pipe_holds_goes_in_and_comes_out() -> None:
    data = os.urandom(1 << 20)
    with start(SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE)) as child:
        pump = communicate(child, data)
        assert pump.stdout == data
        assert pump.stderr is None
        assert not pump.cut


def test_what_is_beyond_the_limit_is_read_and_dropped() -> None:
    argv = ["sh", "-c", "head -c 500000 /dev/zero; echo done >&2"]
    with start(SpawnRequest(argv=argv, stdout=PIPE, stderr=PIPE)) as child:
        pump = communicate(child, limit=1000)
        assert (len(pump.stdout), pump.stderr, pump.cut) == (1000, b"done\n", True)


def test_exactly_the_limit_is_not_cut() -> None:
    with start(SpawnRequest(argv=["printf", "12345"], stdout=PIPE)) as child:
        pump = communicate(child, limit=5)
        assert (pump.stdout, pump.cut) == (b"12345", False)


def test_what_it_left_in_its_pipes_is_taken() -> None:
    with start(SpawnRequest(argv=["echo", "left"], stdout=PIPE)) as child:
        pump = streams.Pump(child)
        child.wait()
        pump.drain()
        assert pump.stdout == b"left\n"


def test_nobody_needs_to_read_what_is_written() -> None:
    with start(SpawnRequest(argv=["true"], stdin=PIPE)) as child:
        communicate(child, b"x" * (1 << 20))
        assert child.wait() == 0


def test_its_end_is_enough_though_a_child_of_its_holds_the_pipe() -> None:
    argv = ["sh", "-c", "sleep 1000 & echo $!"]
    with start(SpawnRequest(argv=argv, stdout=PIPE)) as child:
        pump = communicate(child)
    os.kill(int(pump.stdout), signal.SIGKILL)


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


STARTED = "start(SpawnRequest(argv=['true'])).wait(); from cgmgr import link; print(link.pid())\n"


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


def test_threads_with_other_namespaces_and_rights_get_what_is_theirs() -> None:
    code = """
from cgmgr import linux, link
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


# --- interrupted


def test_interrupted_before_it_is_known(
    monkeypatch: pytest.MonkeyPatch, no_more_children: None
) -> None:
    """^C between the request and the answer leaves no process."""
    real = process.readable
    calls = iter([True])

    def interrupted(fd: int, timeout: float | None, *, only_end: bool = False) -> bool:
        if next(calls, False):
            raise KeyboardInterrupt
        return real(fd, timeout, only_end=only_end)

    monkeypatch.setattr(birth, "readable", interrupted)
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
            child = await astart_as(Process, request)
            with child:
                assert child.stdin is not None
                child.stdin.close()
                return await child.await_exit()

        return list(await asyncio.gather(*(one(number) for number in range(5))))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_asyncio_says_what_cannot_be_executed(no_more_children: None) -> None:
    async def main() -> None:
        await astart_as(Process, SpawnRequest(argv=["/no/such/program"]))

    with pytest.raises(KernelError) as caught:
        asyncio.run(main())
    assert caught.value.errno == errno.ENOENT


def test_asyncio_pumps() -> None:
    data = os.urandom(1 << 19)

    async def main() -> bytes | None:
        request = SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE)
        with await astart_as(Process, request) as child:
            pump = streams.Pump(child, data)
            await pump.arun()
            return pump.stdout

    assert asyncio.run(main()) == data


# --- the channel


def test_a_channel_carries_messages_and_descriptors() -> None:
    ours, theirs = channel.pair()
    read, write = os.pipe()
    try:
        channel.send(ours, ("small", b"x", None, 3))
        channel.send(ours, ("large", b"y" * 300_000), (write,))
        assert channel.receive(theirs) == (("small", b"x", None, 3), [])
        message, fds = channel.receive(theirs)
        assert message == ("large", b"y" * 300_000)
        os.write(fds[0], b"through it")
        assert os.read(read, 100) == b"through it"
        assert not os.get_inheritable(fds[0])
        channel.close_all(fds)
        ours.close()
        assert channel.receive(theirs) == (None, [])
    finally:
        ours.close()
        theirs.close()
        channel.close_all((read, write))


def test_a_receiver_without_room_says_so() -> None:
    ours, theirs = channel.pair()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    sent = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    try:
        channel.send(ours, ("many",), sent)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
        with pytest.raises(OSError) as caught:
            channel.receive(theirs)
        assert caught.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        channel.close_all(sent)
        ours.close()
        theirs.close()


def test_a_placement_closes_what_it_opened() -> None:
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
    Placement(cgroup_fd=fds[0], procs_fds=(fds[1],)).close()
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


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
