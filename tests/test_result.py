"""What a `Result` says, and how its figures come from two looks at a group."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import CgmgrError
from cgmgr.oom import ANCESTOR, BELOW, HOST, OWN, UNKNOWN, Oom
from cgmgr.result import COUNTERS, IO_COUNTERS, PEAKS, Result, RunFailed, figures
from cgmgr.stats import (
    CpuStats,
    IoDeviceStats,
    IoStats,
    MemoryStats,
    PidsStats,
    Pressure,
    PressureLine,
    PressureStats,
    Stats,
)

MIB = 1 << 20


def ended(**fields: Any) -> Result:
    """Where the kernel killed for want of memory, it killed the command, unless something else is
    said."""
    fields.setdefault("oom_killed_it", True)
    return Result(argv=("make", "all"), group="/cgmgr/x", **fields)


def killed(whose: str, **fields: Any) -> Oom:
    return Oom(kills=1, whose=whose, **fields)


OURS = killed(OWN, limit_at="/cgmgr/x", limit_bytes=64 * MIB)


#: runs that SIGKILL ended, and the verdict; their status is 137, as a shell has it
KILLED: dict[str, tuple[Result, str]] = {
    "SIGKILL from elsewhere": (ended(signal=9), "killed by signal 9 (not by a memory limit)"),
    "SIGKILL, and nobody counts memory": (ended(signal=9, oom_known=False), "killed by signal 9"),
    "timeout": (ended(signal=9, timed_out=True, timeout_s=10.0), "timed out after 10s"),
    "own limit": (
        ended(signal=9, oom=OURS, peak_memory_bytes=64 * MIB),
        "killed: memory limit 64MiB (peak 64.0MiB) in /cgmgr/x",
    ),
    "SIGKILL from elsewhere, after another process ran out of memory": (
        ended(signal=9, oom=OURS, oom_killed_it=False),
        "killed by signal 9, and 1 process was killed: memory limit 64MiB in /cgmgr/x",
    ),
    "nobody says which process it was": (
        ended(signal=9, oom=OURS, oom_killed_it=None, peak_pids=2),
        "killed by signal 9, and 1 process was killed: memory limit 64MiB in /cgmgr/x",
    ),
    "nobody says which process it was, and there was but one": (
        ended(signal=9, oom=OURS, oom_killed_it=None, peak_pids=1),
        "killed: memory limit 64MiB in /cgmgr/x",
    ),
    "own limit, not quite reached": (
        ended(signal=9, oom=OURS, peak_memory_bytes=64 * MIB - 70_000),
        "killed: memory limit 64MiB (peak 63.9MiB) in /cgmgr/x",
    ),
    "own limit, peak not known": (
        ended(signal=9, oom=OURS),
        "killed: memory limit 64MiB in /cgmgr/x",
    ),
    "limit above": (
        ended(
            signal=9,
            oom=killed(ANCESTOR, limit_at="/cgmgr", limit_bytes=1 << 30),
            peak_memory_bytes=MIB,
        ),
        "killed: memory limit 1GiB of /cgmgr (peak 1.0MiB) in /cgmgr/x",
    ),
    "some limit above": (
        ended(signal=9, oom=killed(ANCESTOR)),
        "killed: a memory limit above in /cgmgr/x",
    ),
    "limit below": (
        ended(signal=9, oom=killed(BELOW)),
        "killed: a memory limit of a group below in /cgmgr/x",
    ),
    "host": (
        ended(signal=9, oom=killed(HOST)),
        "killed: the machine ran out of memory in /cgmgr/x",
    ),
    "unknown": (
        ended(signal=9, oom=killed(UNKNOWN)),
        "killed: out of memory, it is not known by whose limit in /cgmgr/x",
    ),
    "both": (
        ended(signal=9, timed_out=True, timeout_s=1, oom=OURS),
        "timed out after 1s, and 1 process was killed: memory limit 64MiB in /cgmgr/x",
    ),
}
#: others: verdict, status, whether it is a success
ENDED: dict[str, tuple[Result, str, int | None, bool]] = {
    "success": (ended(exit=0), "exit 0", 0, True),
    "failure": (ended(exit=3), "exit 3", 3, False),
    "signal": (ended(signal=15), "killed by signal 15", 143, False),
    "timeout, and it ended well in the meantime": (
        ended(exit=0, timed_out=True, timeout_s=0.5),
        "timed out after 0.5s",
        0,
        False,
    ),
    "it survived its child": (
        ended(exit=0, oom=OURS, peak_memory_bytes=64 * MIB),
        "exit 0, and 1 process was killed: memory limit 64MiB (peak 64.0MiB) in /cgmgr/x",
        0,
        True,
    ),
    "it survived three": (
        ended(exit=1, oom=OURS.replace(kills=3)),
        "exit 1, and 3 processes were killed: memory limit 64MiB in /cgmgr/x",
        1,
        False,
    ),
    "not known": (ended(), "ended, and its exit status was taken by somebody else", None, False),
}


@pytest.mark.parametrize(
    ("result", "verdict", "code", "ok"),
    [
        *(pytest.param(*row, 137, False, id=id) for id, row in KILLED.items()),
        *(pytest.param(*row, id=id) for id, row in ENDED.items()),
    ],
)
def test_the_verdict(result: Result, verdict: str, code: int | None, ok: bool) -> None:
    assert (str(result), result.verdict, result.returncode, result.ok) == (
        verdict,
        verdict,
        code,
        ok,
    )
    assert "\n" not in verdict


def test_checked() -> None:
    good, bad = ended(exit=0), ended(exit=3)
    assert good.checked() is good
    with pytest.raises(RunFailed, match=r"^make: exit 3$") as caught:
        bad.checked()
    error = caught.value
    assert isinstance(error, CgmgrError)
    assert (error.operation, error.path, error.value, error.result) == ("run", "make", "3", bad)
    assert pickle.loads(pickle.dumps(error)).result == bad
    assert RunFailed(Result(group="/g")).value is None


# --- figures


def disk(name: str, **counts: Any) -> IoDeviceStats:
    return IoDeviceStats(device=name, **counts)


def pressure(usec: int) -> PressureStats:
    return PressureStats(some=PressureLine(avg10=0, avg60=0, avg300=0, total_usec=usec))


BEFORE = Stats(
    cpu=CpuStats(
        usage_usec=100, user_usec=60_000, system_usec=40_000, nr_periods=5, nr_throttled=1
    ),
    io=IoStats(devices=(disk("8:0", rbytes=10, wbytes=20),)),
    memory=MemoryStats(peak_bytes=50),
    pressure=Pressure(cpu=pressure(7)),
)
AFTER = Stats(
    cpu=CpuStats(
        usage_usec=1100, user_usec=160_000, system_usec=49_999, nr_periods=9, nr_throttled=4,
        throttled_usec=30,
    ),
    io=IoStats(devices=(disk("8:0", rbytes=110, wbytes=20), disk("8:16", rbytes=5, wios=2))),
    memory=MemoryStats(peak_bytes=40, swap_peak_bytes=3),
    pids=PidsStats(peak=12, events_max=2),
    pressure=Pressure(cpu=pressure(107), memory=pressure(9)),
)  # fmt: skip


def test_figures_are_what_was_added_meanwhile() -> None:
    found = figures(BEFORE, AFTER)
    assert found.pop("stats") is AFTER
    assert found == {
        "cpu_usage_usec": 1000,
        "cpu_user_usec": 100_000,
        "cpu_system_usec": None,
        "nr_periods": 4,
        "nr_throttled": 3,
        "throttled_usec": 30,
        "pids_refused": 2,
        "cpu_pressure_usec": 100,
        "memory_pressure_usec": 9,
        "io_pressure_usec": None,
        "io_read_bytes": 105,
        "io_write_bytes": 0,
        "io_reads": 0,
        "io_writes": 2,
        "peak_memory_bytes": 40,
        "peak_swap_bytes": 3,
        "peak_pids": 12,
    }


def test_what_nobody_counts_is_none_and_not_0() -> None:
    found = figures(Stats(), Stats())
    assert found.pop("stats") == Stats()
    assert set(found.values()) == {None}


def test_a_counter_that_somebody_reset_is_none() -> None:
    found = figures(AFTER, BEFORE)
    assert (found["cpu_usage_usec"], found["nr_periods"], found["io_read_bytes"]) == (None,) * 3


def test_every_figure_is_a_field_of_the_result() -> None:
    fields = Result.__fields__
    assert set(COUNTERS) | set(IO_COUNTERS) | set(PEAKS) <= set(fields)


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60))
def test_counters_are_differences(before: int, more: int) -> None:
    found = figures(
        Stats(cpu=CpuStats(usage_usec=before)), Stats(cpu=CpuStats(usage_usec=before + more))
    )
    assert found["cpu_usage_usec"] == more
