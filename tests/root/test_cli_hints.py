"""Hints, pasted: what they say works."""

import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM, cgmgr, left


@pytest.fixture
def name(run_token: str) -> Iterator[str]:
    chosen = f"{run_token}-hint"
    yield chosen
    if left(chosen):
        cgmgr("group", "rm", "-f", chosen)
    assert left(chosen) == []


def hint_of(ended: "subprocess.CompletedProcess[str]") -> str:
    assert ended.returncode != 0
    return ended.stderr.partition("hint: ")[2].rstrip("\n")


def pasted(hint: str) -> None:
    """The hint as a command of a shell."""
    path = f"{Path(PROGRAM).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.run(["sh", "-c", hint], check=True, env={"PATH": path}, capture_output=True)


def test_the_group_that_is_frozen_above_is_thawed(name: str) -> None:
    for group in (name, f"{name}/below"):
        assert cgmgr("group", "create", group).returncode == 0
    assert cgmgr("group", "freeze", name).returncode == 0

    hint = hint_of(cgmgr("group", "thaw", f"{name}/below"))

    assert hint == f"cgmgr group thaw /cgmgr/{name}"
    pasted(hint)
    assert cgmgr("group", "thaw", f"{name}/below").returncode == 0


def test_a_group_that_holds_a_process_is_ended(name: str) -> None:
    from cgmgr.errors import GroupBusy
    from cgmgr.manager import Manager

    assert cgmgr("group", "create", name).returncode == 0
    with subprocess.Popen(["sleep", "infinity"]) as sleeper:
        group = Manager().open(name)
        try:
            group.add(sleeper.pid)
            with pytest.raises(GroupBusy) as caught:
                group.delete(kill=False)
            pasted(caught.value.hint or "")
            assert sleeper.wait(30) == -signal.SIGKILL
        finally:
            sleeper.kill()
            group.close()


@pytest.mark.parametrize(
    "words",
    [["mem=64M"], ["memory-max=64M"], ["cpus=4000"], ["tasks_max=9"], ["io_weigth=50"]],
    ids=lambda words: words[0],
)
def test_the_word_that_was_meant_is_taken(name: str, words: list[str]) -> None:
    write, _, word = hint_of(cgmgr("group", "create", name, *words)).partition(" ")

    assert write == "write"
    ended = cgmgr("group", "create", name, word, "--best-effort")
    assert ended.returncode == 0, ended.stderr
    assert cgmgr("group", "get", name).stdout.splitlines()[2].split()[0] == word.partition("=")[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--cpus", "4000"],
        ["-m", "64m", "--cgroup-conf", "memory.limit_in_bytes=67108864"],
        ["--cgroup-conf", "cpu.max=50000 100000"],
        ["--cgroup-conf", "cpu.weight=5"],
    ],
    ids=lambda options: options[-1],
)
def test_the_option_that_was_meant_is_taken(options: list[str]) -> None:
    ended = cgmgr("run", *options, "host", "true")
    if ended.returncode == 0:
        pytest.skip("it is held here as it stands")
    write, *meant = shlex.split(hint_of(ended))

    assert write == "write"
    taken = cgmgr("run", *meant, "host", "true")
    assert taken.returncode == 0, taken.stderr


def test_a_strangers_group_is_looked_at_not_removed(run_token: str) -> None:
    from cgmgr.host import Host
    from cgmgr.kernfs import join

    host = Host.detect()
    pids = host.need("pids")
    there = next((h for h in host.managed if h is not pids), pids)
    directory = Path(there.mountpoint + join(there.base, f"/{run_token}-stranger"))
    directory.mkdir()
    try:
        for words in (["create"], ["create", "--dry-run"], ["set"])[: 2 if there is pids else 3]:
            hint = hint_of(cgmgr("group", *words, f"/{run_token}-stranger", "pids=5"))
            assert hint == f"ls -d {directory}"
            pasted(hint)
    finally:
        directory.rmdir()


@pytest.mark.parametrize("there", [False, True], ids=["made-for-it", "there"])
def test_the_group_above_gets_the_realtime_that_it_lacks(run_token: str, there: bool) -> None:
    from cgmgr.host import Host

    cpu = Host.detect().holder("cpu")
    if cpu is None or not Path(cpu.mountpoint, "cpu.rt_runtime_us").exists():
        pytest.skip("there is no realtime of groups here")
    top = f"/{run_token}-realtime"
    words = ("group", "create", f"{top}/in", "cpu_rt_runtime=5000", "cpu_rt_period=500ms")
    try:
        if there:
            assert cgmgr("group", "create", top).returncode == 0
        for _ in words[3:]:
            pasted(hint_of(cgmgr(*words)))
        ended = cgmgr(*words)
        assert ended.returncode == 0, ended.stderr
    finally:
        cgmgr("group", "rm", "-f", top)
