"""Who a process is: alive, a zombie, dead, or another one under the same pid."""

import os
import signal
from pathlib import Path

import pytest

from cgmgr import owner
from cgmgr.errors import HostError
from cgmgr.owner import Owner


def fork_and_pause() -> int:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def test_a_process_is_alive_until_it_ends() -> None:
    pid = fork_and_pause()
    who = Owner.of(pid)
    assert owner.alive(who)

    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not owner.alive(who), "a zombie"

    os.waitpid(pid, 0)
    assert not owner.alive(who)
    with pytest.raises(HostError, match=f"process {pid} is not there"):
        Owner.of(pid)


def test_this_process() -> None:
    who = Owner.of()

    assert who.pid == os.getpid()
    assert owner.alive(who)


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        pytest.param({"start_ticks": 1}, False, id="the pid was used again"),
        pytest.param({"boot_id": "another"}, False, id="another boot"),
        pytest.param({"pid_namespace": "pid:[1]"}, True, id="a pid that means nothing here"),
        pytest.param(
            {"pid_namespace": "pid:[1]", "boot_id": "another"}, False, id="nothing survives a boot"
        ),
    ],
)
def test_what_makes_a_process_another(changes: dict[str, object], alive: bool) -> None:
    assert owner.alive(Owner.of().replace(**changes)) is alive


def tree(root: Path, stat: str | None) -> str:
    (root / "sys/kernel/random").mkdir(parents=True)
    (root / "sys/kernel/random/boot_id").write_text("boot\n")
    (root / "self/ns").mkdir(parents=True)
    (root / "self/ns/pid").symlink_to("pid:[7]")
    if stat is not None:
        (root / "42").mkdir()
        (root / "42/stat").write_text(stat)
    return str(root)


REST = "1 42 42 0 -1 4194304 91 0 0 0 0 0 0 0 20 0 1 0 {start} 2973696 225 18446744073709551615\n"


@pytest.mark.parametrize("comm", ["sleep", "a b", ") S 1 (", "))))", "", "\n", "R 1 2 3"], ids=repr)
def test_names_that_look_like_fields(tmp_path: Path, comm: str) -> None:
    proc = tree(tmp_path, f"42 ({comm}) S {REST.format(start=123456)}")

    assert Owner.of(42, proc) == Owner(
        boot_id="boot", pid=42, start_ticks=123456, pid_namespace="pid:[7]"
    )


@pytest.mark.parametrize(
    ("stat", "alive"),
    [
        pytest.param(f"42 (x) S {REST.format(start=5)}", True, id="sleeping"),
        pytest.param(f"42 (x) T {REST.format(start=5)}", True, id="stopped"),
        pytest.param(f"42 (x) Z {REST.format(start=5)}", False, id="zombie"),
        pytest.param(f"42 (x) X {REST.format(start=5)}", False, id="dead"),
        pytest.param(f"42 (x) S {REST.format(start=6)}", False, id="started later"),
        pytest.param("", False, id="gone while it was read"),
        pytest.param(None, False, id="gone"),
    ],
)
def test_alive(tmp_path: Path, stat: str | None, alive: bool) -> None:
    who = Owner(boot_id="boot", pid=42, start_ticks=5, pid_namespace="pid:[7]")

    assert owner.alive(who, tree(tmp_path, stat)) is alive


def test_a_strange_name_on_this_kernel() -> None:
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/comm").write_text(") S 1 (")
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    try:
        who = Owner.of(pid)
        assert owner.alive(who)
        assert 0 < Owner.of().start_ticks <= who.start_ticks
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
