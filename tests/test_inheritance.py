"""What a new process has from its caller at that moment, and what it has not."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgmgr.errors import KernelError
from cgmgr.spawn import DEVNULL, PIPE, STDOUT, SpawnRequest, channel, shutdown, start

from .spawn_entries import is_open
from .spawning import called, ends, output, python, status_of

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
    high = fcntl.fcntl(write, fcntl.F_DUPFD, 50)  # a free number: others are in use around here
    try:
        text, code = called("tell", b"data", pass_fds=[high])
        assert (text, code) == (f"data [{high}] [0, 1, 2, {high}]", 7)
        script = "for fd in /proc/self/fd/*; do echo ${fd##*/}; done"
        opened = set(output("sh", "-c", script, pass_fds=[high]).split())
        assert {"0", "1", "2", str(high)} <= opened
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
