"""Records and locks in files: by name, between processes, and after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cgmgr import linux
from cgmgr.errors import DeadlineExceeded, HostError, KernelError, RequestError
from cgmgr.statedir import Damaged, Folder, decode, encode


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "state"), "things")


def files(folder: Folder) -> list[str]:
    return sorted(entry.name for entry in Path(folder.path).iterdir())


def save(folder: Folder, name: str, value: object) -> None:
    with folder.lock(name):
        folder.write(name, value)


def forked(act: Callable[[], object]) -> int:
    """A child that does `act` and ends: with 0, or 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            act()
            status = 0
        os._exit(status)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.contextmanager
def holder(folder: Folder, name: str) -> Generator[int]:
    """A process that holds the lock until it is killed."""
    ready_r, ready_w = os.pipe()

    def act() -> None:
        with folder.lock(name):
            os.write(ready_w, b".")
            signal.pause()

    pid = forked(act)
    os.read(ready_r, 1)
    os.close(ready_r)
    os.close(ready_w)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("/cgmgr/x", "%2Fcgmgr%2Fx", id="path"),
        pytest.param("a.json", "a.json", id="an end of ours"),
        pytest.param(".", "%2E", id="dot"),
        pytest.param("..", "%2E.", id="two dots"),
        pytest.param("100%", "100%25", id="percent"),
        pytest.param("a b\n\0", "a%20b%0A%00", id="blanks and control characters"),
        pytest.param("é", "%C3%A9", id="two bytes"),
        pytest.param("\udcff", "%FF", id="no UTF-8"),
        pytest.param("/" * 66 + "ab", "%2F" * 66 + "ab", id="200 bytes"),
        pytest.param(
            "x" * 201,
            "%h84a0678c90937f5dcf9994d5866668da6b995109c8ad845410559b48a4ecafed",
            id="201 bytes",
        ),
    ],
)
def test_encoded(name: str, encoded: str) -> None:
    assert encode(name) == encoded


@given(st.binary(min_size=1, max_size=300).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
@example("%h" + "0" * 64)
@example("/" * 67)
def test_a_name_comes_back(name: str) -> None:
    encoded = encode(name)

    assert decode(encoded) == (None if encoded.startswith("%h") else name)
    assert len(encoded) + len(".json") <= 255
    assert not encoded.startswith(".")
    assert encoded.isascii()
    assert encoded.isprintable()
    assert "/" not in encoded


@pytest.mark.parametrize("name", [pytest.param("", id="empty"), pytest.param("\ud800", id="half")])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(RequestError):
        encode(name)


@pytest.mark.parametrize(
    "file", ["", "a b", "%", "%2", "%zz", "%2f", "%41", ".a", "é", "%h", "x" * 201]
)
def test_files_of_others_have_no_name(file: str) -> None:
    assert decode(file) is None


# --- records -------------------------------------------------------------------------------------


def test_a_record_is_written_read_replaced_and_removed(folder: Folder) -> None:
    for value in ({"a": [1, None, "\udc80"]}, "other"):
        save(folder, "/x", value)
        assert folder.read("/x") == value
        assert list(folder.entries()) == [("/x", value)]
        assert files(folder) == ["%2Fx.json", "%2Fx.lock"]

    with folder.lock("/x"):
        folder.remove("/x")
        folder.remove("/x")
    assert folder.read("/x") is None
    assert files(folder) == []


def test_a_long_name_is_known_from_its_record_alone(folder: Folder) -> None:
    save(folder, "x" * 250, 1)

    assert folder.read("x" * 250) == 1
    assert folder.read("x" * 251) is None
    assert list(folder.entries()) == [(None, 1)]


def test_looking_makes_nothing(folder: Folder) -> None:
    assert folder.read("x") is None
    folder.remove("x")
    assert list(folder.entries()) == []
    assert folder.sweep() == []
    assert not Path(folder.root).exists()


def test_only_the_owner_may_look(folder: Folder) -> None:
    umask = os.umask(0)
    try:
        save(folder, "x", 1)
    finally:
        os.umask(umask)

    assert Path(folder.root).stat().st_mode & 0o7777 == 0o1700
    assert Path(folder.path).stat().st_mode & 0o7777 == 0o1700
    for file in files(folder):
        assert Path(folder.path, file).stat().st_mode & 0o7777 == 0o1600


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701], ids=oct)
@pytest.mark.parametrize("level", ["root", "path"])
def test_a_directory_that_others_may_enter_is_refused(
    folder: Folder, level: str, mode: int
) -> None:
    save(folder, "x", 1)
    Path(getattr(folder, level)).chmod(mode)
    folder.close()

    for act in (lambda: folder.read("x"), lambda: save(folder, "x", 2), folder.sweep):
        with pytest.raises(HostError, match=f"with mode {mode:o}") as caught:
            act()
        assert caught.value.hint is not None
        assert getattr(folder, level) in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_another_user_is_refused(folder: Folder) -> None:
    save(folder, "x", 1)
    os.chown(folder.root, 12345, -1)
    folder.close()

    with pytest.raises(HostError, match="belongs to 12345"):
        folder.read("x")


def test_a_link_in_place_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "real")

    with pytest.raises(KernelError):
        save(Folder(str(tmp_path / "state"), "things"), "x", 1)
    assert list((tmp_path / "real").iterdir()) == []


def test_a_root_without_a_parent(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "nowhere" / "state"), "things")

    assert folder.read("x") is None
    with pytest.raises(KernelError, match="no such file"):
        save(folder, "x", 1)


def test_a_cut_record_is_reported_and_swept(folder: Folder) -> None:
    save(folder, "x", {"name": "x", "list": [1, 2]})
    save(folder, "sound", 1)
    file = Path(folder.path, "x.json")
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])

        with pytest.raises(HostError, match="damaged record") as caught:
            folder.read("x")
        assert caught.value.path == str(file)
        [_, (name, damaged)] = folder.entries()
        assert name == "x"
        assert isinstance(damaged, Damaged)
        assert damaged.path == str(file)
        [line] = folder.sweep()
        assert line.startswith(f"{file}: ")
        assert files(folder) == ["sound.json", "sound.lock"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff\xfe{}", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b"\0" * 4096, id="zeros"),
    ],
)
def test_rubbish_is_damaged(folder: Folder, content: bytes) -> None:
    save(folder, "x", 1)
    Path(folder.path, "x.json").write_bytes(content)

    with pytest.raises(HostError, match="damaged record"):
        folder.read("x")
    assert len(folder.sweep()) == 1


def test_a_file_that_may_grow_no_further_changes_nothing(folder: Folder) -> None:
    save(folder, "x", "old")

    def act() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(KernelError, match="file too large"):
            save(folder, "x", "new" * 100)

    assert ended(forked(act)) == 0
    assert folder.read("x") == "old"
    assert files(folder) == ["x.json", "x.lock"]


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()

    def act() -> None:
        linux.mount("tmpfs", str(room), "tmpfs", data="size=16k,mode=700")
        folder = Folder(f"{room}/state", "things")
        save(folder, "x", "old")
        with pytest.raises(KernelError, match="no space left on device") as caught:
            save(folder, "x", "new" * 10_000)
        assert caught.value.hint == f"df -h {room}/state && df -i {room}/state"
        assert folder.read("x") == "old"
        assert files(folder) == ["x.json", "x.lock"]
        save(folder, "x", "new")
        assert folder.read("x") == "new"

    status = ended(forked(lambda: _with_mounts_of_its_own(act)))
    if status == _NO_NAMESPACE:
        pytest.skip("this process may not have mounts of its own")
    assert status == 0


_NO_NAMESPACE = 77


def _with_mounts_of_its_own(act: Callable[[], None]) -> None:
    uid = os.geteuid()
    try:
        linux.unshare(linux.CLONE_NEWNS | (linux.CLONE_NEWUSER if uid else 0))
        if uid:
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    except OSError:
        os._exit(_NO_NAMESPACE)
    act()


# --- locks ---------------------------------------------------------------------------------------


def test_a_lock_without_a_record_leaves_no_file(folder: Folder) -> None:
    with folder.lock("x"):
        assert files(folder) == ["x.lock"]
    assert files(folder) == []


def test_a_lock_is_for_one_name(folder: Folder) -> None:
    with folder.lock("x", 0), folder.lock("y", 0):
        assert files(folder) == ["x.lock", "y.lock"]


def test_who_holds_a_lock_is_said(folder: Folder) -> None:
    with (
        holder(folder, "x") as pid,
        pytest.raises(DeadlineExceeded) as caught,
        folder.lock("x", 0.02),
    ):
        pytest.fail("it was held")

    assert str(caught.value) == (
        f"lock {folder.path}/x.lock: not free after 0.02 s, held by process {pid}"
    )
    assert caught.value.hint == f"ps -o pid,stat,args -p {pid}"


def test_a_lock_is_not_reentrant_and_says_so(folder: Folder) -> None:
    with folder.lock("x"):
        with (
            pytest.raises(DeadlineExceeded, match=f"held by process {os.getpid()}"),
            folder.lock("x", 0),
        ):
            pytest.fail("it was held")
        assert files(folder) == ["x.lock"]


@pytest.mark.parametrize("timeout", [0, 10, None], ids=str)
def test_a_killed_holder_holds_nothing(folder: Folder, timeout: float | None) -> None:
    with holder(folder, "x"):
        pass
    assert files(folder) == ["x.lock"]

    with folder.lock("x", timeout):
        pass
    assert files(folder) == []


def test_a_waiting_process_gets_the_lock(folder: Folder) -> None:
    """Both ways of waiting, while the holder removes the lock's file under the waiter."""
    for timeout in (None, 60):
        begun_r, begun_w = os.pipe()

        def act(writing: int = begun_w, timeout: float | None = timeout) -> None:
            os.write(writing, b".")
            with folder.lock("x", timeout):
                folder.write("x", os.getpid())

        with folder.lock("x"):
            pid = forked(act)
            os.read(begun_r, 1)
        assert ended(pid) == 0
        assert folder.read("x") == pid
        os.close(begun_r)
        os.close(begun_w)


def test_one_holder_at_a_time_whatever_becomes_of_the_file(folder: Folder, tmp_path: Path) -> None:
    """Every turn ends with the removal of the lock's file, under whoever waits for it."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def act() -> None:
        for _ in range(300):
            with folder.lock("x"):
                counter.write_text(str(int(counter.read_text()) + 1))

    assert [ended(pid) for pid in [forked(act) for _ in range(4)]] == [0] * 4
    assert counter.read_text() == "1200"
    assert files(folder) == []


def test_an_exec_lets_go_of_a_lock(folder: Folder) -> None:
    exec_r, exec_w = os.pipe()  # closed by the exec

    def act() -> None:
        os.close(exec_r)
        folder.lock("x").__enter__()
        os.execvp("sleep", ["sleep", "1000"])

    pid = forked(act)
    os.close(exec_w)
    assert os.read(exec_r, 1) == b""
    os.close(exec_r)
    try:
        # the kernel closes one after the other: the pipe's end may be seen before the lock's
        with folder.lock("x", 10):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_forked_child_does_not_keep_a_lock(folder: Folder) -> None:
    save(folder, "x", 1)  # so that the lock's file stays
    with folder.lock("x"):
        pid = forked(signal.pause)
    try:
        with folder.lock("x", 0):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# --- what a kill leaves --------------------------------------------------------------------------


def test_a_kill_at_any_moment_leaves_a_whole_record(folder: Folder) -> None:
    value = {"filling": "x" * 100_000}

    def act(writing: int) -> None:
        number = 0
        while True:
            save(folder, "x", value | {"number": number})
            os.write(writing, b".")
            number += 1

    for turns in range(30):
        turn_r, turn_w = os.pipe()
        pid = forked(partial(act, turn_w))
        os.close(turn_w)
        for _ in range(turns % 3 + 1):
            os.read(turn_r, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(turn_r)

        assert folder.read("x")["filling"] == value["filling"]
        assert all(line.endswith(".tmp: half-written") for line in folder.sweep())
        assert files(folder) == ["x.json", "x.lock"]


def test_a_half_written_record_is_swept(folder: Folder) -> None:
    save(folder, "x", 1)
    Path(folder.path, "x.tmp").write_text('{"na')
    Path(folder.path, "y.tmp").write_text("")

    assert folder.sweep() == [
        f"{folder.path}/x.tmp: half-written",
        f"{folder.path}/y.tmp: half-written",
    ]
    assert files(folder) == ["x.json", "x.lock"]
    assert folder.read("x") == 1


def test_a_leftover_is_written_over(folder: Folder) -> None:
    save(folder, "x", 1)
    Path(folder.path, "x.tmp").write_text("rubbish that is longer than the record will be")
    save(folder, "x", 2)

    assert folder.read("x") == 2
    assert files(folder) == ["x.json", "x.lock"]


def test_what_is_in_use_is_not_swept(folder: Folder) -> None:
    save(folder, "x", 1)
    with holder(folder, "x"), holder(folder, "y"):
        Path(folder.path, "x.tmp").write_text("on its way")
        Path(folder.path, "x.json").write_text("cut")

        assert folder.sweep() == []
        assert files(folder) == ["x.json", "x.lock", "x.tmp", "y.lock"]
    assert len(folder.sweep()) == 2
    assert files(folder) == []


def test_files_of_others_are_left_alone(folder: Folder) -> None:
    save(folder, "x", 1)
    Path(folder.path, "readme").write_text("")
    Path(folder.root, "other").mkdir()

    assert folder.sweep() == []
    assert list(folder.entries()) == [("x", 1)]
    assert files(folder) == ["readme", "x.json", "x.lock"]
    assert json.loads(Path(folder.path, "x.json").read_text()) == 1
