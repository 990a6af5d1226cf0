"""Running commands in groups, and what is said of them, on the kernel that runs here."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cgmgr import frozen
from cgmgr.account import PEAK_BEFORE, Account, Run
from cgmgr.errors import DeadlineExceeded, HostError, KernelError, RequestError
from cgmgr.group import Group
from cgmgr.manager import Manager
from cgmgr.oom import Oom
from cgmgr.result import COUNTERS, IO_COUNTERS, PEAKS, Result
from cgmgr.running import apopen, popen
from cgmgr.spawn import DEVNULL, PIPE, SpawnRequest, start

MIB = 1 << 20
PYTHON = (sys.executable, "-I", "-S", "-c")
#: by version: what freezes, and what thaws
FREEZE = {
    1: (("freezer.state", "FROZEN"), ("freezer.state", "THAWED")),
    2: (("cgroup.freeze", "1"), ("cgroup.freeze", "0")),
}
HOG = (*PYTHON, "x = b'x' * (96 << 20)")


def run(group: Group, argv: Any, **options: Any) -> Result:
    return group.run(argv, **options)


def arun(group: Group, argv: Any, **options: Any) -> Result:
    return asyncio.run(group.arun(argv, **options))


both_ways = pytest.mark.parametrize("way", [run, arun])
Way = Callable[..., Result]


@both_ways
def test_output_and_status(group: Group, way: Way) -> None:
    result = way(group, ["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture=True)
    assert (result.exit, result.signal, result.stdout, result.stderr) == (3, None, b"in", b"err\n")
    assert (result.argv[0], result.group, result.timed_out) == ("sh", group.name, False)
    assert (str(result), result.notes, result.output_cut) == ("exit 3", (), False)
    assert result.wall_usec is not None
    assert result.wall_usec > 0


@both_ways
def test_output_beyond_the_limit(group: Group, way: Way) -> None:
    argv = ["head", "-c", "1000000", "/dev/zero"]
    result = way(group, argv, capture=True, output_limit_bytes=10)
    assert (result.exit, result.stdout, result.output_cut) == (0, bytes(10), True)


@both_ways
def test_what_cannot_be_executed_is_no_result(group: Group, way: Way) -> None:
    with pytest.raises(KernelError) as caught:
        way(group, ["/no/such/program"])
    assert (caught.value.errno, caught.value.operation) == (errno.ENOENT, "exec")
    assert group.pids() == []


@both_ways
def test_a_timeout_kills_all_that_is_there(group: Group, way: Way) -> None:
    script = "echo begun; sleep 1000 & setsid sleep 1000 & wait"
    result = way(group, ["sh", "-c", script], timeout=0.5, capture=True)
    assert (result.timed_out, result.signal, result.stdout) == (True, 9, b"begun\n")
    assert str(result) == "timed out after 0.5s"
    assert group.pids(recursive=True) == []


@both_ways
@pytest.mark.parametrize("timeout", [0, 0.001])
def test_no_time_at_all_is_a_result(group: Group, way: Way, timeout: float) -> None:
    result = way(group, ["sleep", "1000"], timeout=timeout)
    assert result.timed_out
    assert group.pids() == []


@both_ways
@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_below_nothing_is_refused(group: Group, way: Way, timeout: float) -> None:
    with pytest.raises(RequestError, match="below 0"):
        way(group, ["true"], timeout=timeout)


@both_ways
def test_a_group_can_be_used_again_after_a_timeout(group: Group, way: Way) -> None:
    assert way(group, ["sleep", "1000"], timeout=0.1).timed_out
    assert str(way(group, ["true"])) == "exit 0"


def test_cancelling_kills_all_that_is_there(group: Group) -> None:
    async def main() -> None:
        task = asyncio.create_task(group.arun(["sh", "-c", "sleep 1000 & sleep 1000"]))
        while len(group.pids()) < 3:
            assert not task.done(), task
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert group.pids() == []


def test_an_interruption_kills_all_that_is_there(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("cgmgr.spawn.streams.Pump.run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        group.run(["sleep", "1000"])
    assert group.pids() == []


@pytest.mark.parametrize("below", ["", "/below"], ids=["itself", "by-an-ancestor"])
@pytest.mark.parametrize("side", ["freezer", "cgroup2"])
@both_ways
def test_nothing_is_started_in_a_frozen_group(
    manager: Manager, group: Group, way: Way, side: str, below: str
) -> None:
    holder = group.host.need("freezer") if side == "freezer" else group.host.v2
    if holder is None:
        pytest.skip("no cgroup2 is mounted")
    freeze, thaw = FREEZE[holder.version]
    inner = manager.create(group.name + below) if below else group
    directory = group.at(holder.key)
    directory.write(*freeze)
    try:
        with pytest.raises(HostError, match="nothing can be started in it") as caught:
            way(inner, ["true"], timeout=5)
        with pytest.raises(HostError, match="nothing can be started in it"):
            inner.placement()
    finally:
        directory.write(*thaw)
    assert f"group {inner.name} is fr" in str(caught.value)
    assert caught.value.hint == f"cgmgr group thaw {group.name}"
    assert str(way(inner, ["true"])) == "exit 0"
    if below:
        inner.delete()


def test_what_is_no_group_is_thawed_by_its_file(group: Group) -> None:
    directory = group.directory("freezer")
    scope = f"{directory.path}/scope"
    said = frozen.thawing(group, group.host.need("freezer").key, scope)
    file, text = FREEZE[group.host.need("freezer").version][1]
    assert said == f"echo {text} > {directory.tree.absolute(scope)}/{file}"


# --- memory


@both_ways
def test_killed_by_its_memory_limit(manager: Manager, name: str, way: Way) -> None:
    with manager.create(name, memory="24M", swap=0) as group:
        result = way(group, HOG, stderr=DEVNULL)
        where = group.paths[group.host.need("memory").key]
        assert result.oom == Oom(kills=1, whose="own", limit_at=where, limit_bytes=24 * MIB)
        assert result.signal == 9
        assert result.peak_memory_bytes == 24 * MIB
        assert result.peak_includes_start is None
        assert str(result) == f"killed: memory limit 24MiB (peak 24.0MiB) in {name}"


def test_survived_by_the_command(manager: Manager, name: str) -> None:
    with manager.create(name, memory="24M", swap=0) as group:
        result = group.run(["sh", "-c", f'{" ".join(PYTHON)} "{HOG[-1]}"; exit 0'])
        assert str(result) == (
            f"exit 0, and 1 process was killed: memory limit 24MiB (peak 24.0MiB) in {name}"
        )


def test_killed_from_elsewhere_is_no_oom(manager: Manager, name: str) -> None:
    with manager.create(name, memory="24M", swap=0) as group:
        assert run(group, HOG, stderr=DEVNULL).oom is not None
        result = group.run(["sh", "-c", "kill -9 $$"])
        assert str(result) == "killed by signal 9 (not by a memory limit)"


def test_killed_from_elsewhere_after_its_child_ran_out_of_memory(
    manager: Manager, name: str
) -> None:
    """A SIGKILL may be anybody's; which process the kernel killed, its log says."""
    with manager.create(name, memory="24M", swap=0) as group:
        script = f'{" ".join(PYTHON)} "{HOG[-1]}"; kill -9 $$'
        result = group.run(["sh", "-c", script], stderr=DEVNULL)
        assert (result.signal, result.oom_killed_it) == (9, False)
        assert str(result) == (
            "killed by signal 9, and 1 process was killed: memory limit 24MiB (peak 24.0MiB) in "
            f"{name}"
        )


def test_the_peak_is_the_payloads(group: Group) -> None:
    """32 MiB are seen as such, and not the 96 MiB of a run before."""
    large = group.run(HOG)
    assert large.peak_memory_bytes is not None
    assert large.peak_memory_bytes > 96 * MIB
    small = group.run([*PYTHON, "x = b'x' * (32 << 20)"])
    assert small.peak_memory_bytes is not None
    assert 32 * MIB < small.peak_memory_bytes < 48 * MIB
    assert small.peak_includes_start is None


def test_a_run_leaves_the_peak_of_another_alone(group: Group) -> None:
    script = "x = bytearray(64 << 20); del x; print(flush=True); input()"
    with popen(group, [*PYTHON, script], stdin=PIPE, stdout=PIPE) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"\n"
        second = group.run(["true"])
        first.stdin.write(b"\n")
        first.stdin.close()
        result = first.result()
    assert (result.exit, result.notes) == (0, ())
    assert result.peak_memory_bytes is not None
    assert result.peak_memory_bytes > 64 * MIB
    assert second.notes[0] == "1 process in the group before"
    if group.host.need("memory").version == 1:
        assert second.notes[1:] == (PEAK_BEFORE,)
        assert second.peak_includes_start == second.peak_memory_bytes
    else:
        assert second.notes[1:] == ()


def test_a_peak_that_may_be_ours_is_said_to_be(group: Group) -> None:
    """A command that uses less than what starts it."""
    account = Account(group)
    with account, account.placement() as place:
        child = start(SpawnRequest(argv=["true"], placement=place))
        with child:
            ended = child.wait_ended()
        floor = (b"1099511627776\n",)
        result = account.result(Run(argv=("true",), ended=ended, floors=floor))
        assert result.peak_includes_start == result.peak_memory_bytes
        never = account.result(Run(argv=("true",), ended=ended, floors=None))
        assert never.peak_includes_start == never.peak_memory_bytes
        low = account.result(Run(argv=("true",), ended=ended, floors=(b"0\n",)))
        assert low.peak_includes_start is None


# --- the other figures


def test_cpu_time_and_throttling(manager: Manager, name: str) -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    with manager.create(name, cpus=0.25) as group:
        result = group.run([*PYTHON, burn])
        assert result.cpu_usage_usec is not None
        assert 290_000 < result.cpu_usage_usec < 2_000_000
        assert result.nr_throttled
        assert result.throttled_usec
        again = group.run(["true"])
        assert again.cpu_usage_usec is not None
        assert again.cpu_usage_usec < 290_000, "what was before does not count"
        assert again.stats.cpu is not None
        assert (again.stats.cpu.usage_usec or 0) > 290_000, "the group's own record has it all"


def test_our_own_share_of_the_cpu_time_does_not_count(group: Group) -> None:
    """What is used until exec is counted by the group, and is not in the figures."""
    account = Account(group)
    with account, account.placement() as place:
        with start(SpawnRequest(argv=["true"], placement=place)) as child:
            ended = child.wait_ended()
        run = Run(argv=("true",), ended=ended, floors=child.floors)
        with_ours, without = account.result(run.replace(floors=None)), account.result(run)
    assert 0 < (without.cpu_usage_usec or 0) < (with_ours.cpu_usage_usec or 0)


@both_ways
def test_wall_time_covers_the_cpu_time(group: Group, way: Way) -> None:
    """Also of what is over before its caller is scheduled again."""
    for _ in range(5):
        result = way(group, ["true"])
        assert (result.cpu_usage_usec or 0) <= (result.wall_usec or 0)


def test_user_and_system_time_below_a_sample_is_not_told(group: Group) -> None:
    short = group.run(["true"])
    assert (short.cpu_user_usec, short.cpu_system_usec) == (None, None)
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    long = group.run([*PYTHON, burn])
    assert long.cpu_user_usec
    assert long.cpu_user_usec >= 10_000


def test_refused_forks(manager: Manager, name: str) -> None:
    with manager.create(name, pids=2) as group:
        script = "sleep 1000 & p=$!; (true & wait) ; kill $p"
        result = group.run(["sh", "-c", script], stderr=DEVNULL)
        assert result.pids_refused
        assert result.peak_pids in (2, None)


def test_bytes_to_a_disk(group: Group, tmp_path: Path) -> None:
    before = group.stats()
    if before.io is None:
        pytest.skip("no io controller")
    target = tmp_path / "file"
    argv = ["dd", "if=/dev/zero", f"of={target}", "bs=1M", "count=4", "oflag=direct"]
    result = group.run(argv, stderr=DEVNULL)
    if result.exit != 0:
        pytest.skip("no direct IO here")
    assert result.io_write_bytes is not None
    if os.stat(target).st_dev >> 8 == 0:  # noqa: PTH116
        pytest.skip("the file system has no disk of its own")
    assert result.io_write_bytes >= 4 * MIB


def test_what_is_left_in_the_group_is_a_note(group: Group) -> None:
    result = group.run(["sh", "-c", "sleep 1000 & exit 0"])
    assert result.notes == ("1 process left in the group",)
    result = group.run(["true"])
    assert result.notes[0] == "1 process in the group before"


def test_a_group_that_vanishes_meanwhile(manager: Manager, name: str) -> None:
    group = manager.create(name)
    child = popen(group, ["cat"], stdin=PIPE)
    with child:
        group.delete()
        group.close()
        result = child.result()
    assert (result.signal, result.oom, result.oom_known) == (9, None, False)
    assert str(result) == "killed by signal 9"
    assert result.cpu_usage_usec is None
    assert result.group_gone
    assert result.notes == (
        f"group {name}: it was removed meanwhile: what was used, and whether memory ran out, "
        "is not known",
    )
    counted = (*COUNTERS, *IO_COUNTERS, *PEAKS)
    assert {figure: getattr(result, figure) for figure in counted} == dict.fromkeys(counted)


# --- popen


def test_popen_has_a_result(group: Group) -> None:
    with popen(group, ["sh", "-c", "read x; exit $x"], stdin=PIPE) as child:
        assert child.stdin is not None
        with pytest.raises(DeadlineExceeded):
            child.result(timeout=0)
        child.stdin.write(b"4\n")
        child.stdin.close()
        result = child.result()
    assert str(result) == "exit 4"


def test_communicate(group: Group) -> None:
    """More than a pipe holds in both directions, with a time-out on the way that loses nothing."""
    data = os.urandom(1 << 20)
    script = "cat >/dev/null; echo $1 >&2; exit 5"
    with popen(group, ["cat"], stdin=PIPE, stdout=PIPE) as child:
        assert child.communicate(data) == (data, None)
        assert child.communicate() == (data, None)
        assert child.result().exit == 0
    with popen(group, ["sh", "-c", script, "sh", "err"], stdin=PIPE, stderr=PIPE) as child:
        with pytest.raises(DeadlineExceeded):
            child.communicate(data, timeout=0)
        with pytest.raises(RequestError, match="given before"):
            child.communicate(b"again")
        assert child.communicate() == (None, b"err\n")
        assert child.returncode == 5
    with popen(group, ["cat"], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(b"buffered ")
        assert child.communicate(b"and given") == (b"buffered and given", None)
    with popen(group, ["true"]) as child:
        assert child.communicate() == (None, None)


def test_nothing_of_apopen_blocks_the_loop(group: Group) -> None:
    """Processes that wait for each other: who blocks the loop never ends."""
    data = os.urandom(1 << 20)

    async def main() -> None:
        first = await group.apopen(["sh", "-c", "read x; exit $x"], stdin=PIPE)
        second = await group.apopen(["cat"], stdin=PIPE, stdout=PIPE)
        async with first, second:
            waiting = asyncio.create_task(first.wait())
            talking = asyncio.create_task(second.communicate(data))
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await first.wait()
            assert first.stdin is not None
            first.stdin.write(b"6\n")
            first.stdin.flush()
            assert (await waiting, await talking) == (6, (data, None))
            assert (await second.wait(), (await second.result()).exit) == (0, 0)

    asyncio.run(main())


def test_communicate_for_asyncio_loses_nothing_when_it_is_cancelled(group: Group) -> None:
    data = os.urandom(1 << 20)

    async def main() -> tuple[bytes | None, bytes | None]:
        async with await group.apopen(["cat"], stdin=PIPE, stdout=PIPE) as child:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await child.communicate(data)
            return await child.communicate()

    assert asyncio.run(main()) == (data, None)


def test_an_error_in_the_body_ends_the_process_of_apopen(group: Group) -> None:
    async def main() -> None:
        async with await group.apopen(["sleep", "1000"]):
            raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(main())
    assert group.pids() == []


def test_apopen_has_a_result(group: Group) -> None:
    async def main() -> Result:
        async with await apopen(group, ["sh", "-c", "exit 4"]) as child:
            return await child.result()

    assert str(asyncio.run(main())) == "exit 4"


def test_many_threads_run_in_groups_of_their_own(manager: Manager, name: str) -> None:
    results: dict[int, Result] = {}

    def work(number: int) -> None:
        with manager.create(f"{name}/{number}") as group:
            results[number] = group.run(
                ["sh", "-c", f"cat /proc/self/cgroup; exit {number}"], capture=True
            )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    with manager.create(name):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {number: result.exit for number, result in results.items()} == {n: n for n in range(6)}
    for number, result in results.items():
        assert f"{name}/{number}\n".encode() in (result.stdout or b"")


def test_no_descriptor_is_left_with_us(group: Group) -> None:
    def cycle() -> None:
        group.run(["true"], capture=True, input=b"x")
        with popen(group, ["true"]) as child:
            child.wait()
        with pytest.raises(KernelError):
            group.run(["/no/such/program"], capture=True)

    cycle()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        cycle()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
