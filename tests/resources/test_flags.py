"""Complaints about words, as the command line that said them would have them."""

import pytest

from cgmgr.errors import ControllerUnavailable, RequestError
from cgmgr.resources.docker import FLAGS
from cgmgr.resources.flags import SAYERS, dashed, in_flags, in_typed, typed
from cgmgr.resources.words import NAMES

#: a complaint, what it is about, its hint, the flags that were given; the complaint, the hint then
SAID: dict[str, tuple[str, str, str | None, tuple[str, ...], str, str | None]] = {
    "the-flag": (
        "cpuset cannot be 9: this machine has CPUs 0-1",
        "set cpuset",
        None,
        ("cpuset_cpus",),
        "--cpuset-cpus cannot be 9: this machine has CPUs 0-1",
        None,
    ),
    "swap-of-its-own": (
        "swap cannot be 5",
        "set swap",
        "memory=1G",
        ("swap",),
        "--swap cannot be 5",
        "--memory=1G",
    ),
    "swap-of-a-sum": (
        "swap cannot be 5",
        "set swap",
        None,
        ("memory", "memory_swap"),
        "--memory-swap cannot be 5",
        None,
    ),
    "swap-that-nobody-asked-for": (
        "swap cannot be held here: not counted",
        "set swap",
        "swapaccount=1 # on the kernel's command line",
        ("memory",),
        "--memory cannot be held here: not counted",
        "swapaccount=1 # on the kernel's command line",
    ),
    "cpus-by-quota": (
        "cpus cannot be 9 CPUs: this machine has 2",
        "set cpus",
        "cpus=2",
        ("cpu_quota",),
        "--cpu-quota cannot be 9 CPUs: this machine has 2",
        "--cpus=2",
    ),
    "a-time": (
        "use cpu_quota, cpu_period",
        "set cpu.max",
        "cpu_quota=50000us cpu_period=100ms",
        ("cgroup_conf",),
        "use cpu_quota, cpu_period",
        "--cpu-quota=50000 --cpu-period=100000",
    ),
    "no-limit": (
        "use cpu_quota",
        "set cpu.max",
        "cpu_quota=max",
        ("cgroup_conf",),
        "use cpu_quota",
        "--cpu-quota=-1",
    ),
    "another-scale": (
        "use cpu_weight",
        "set cpu.weight",
        "cpu_weight=5",
        ("cgroup_conf",),
        "use cpu_weight",
        "--property=CPUWeight=5",
    ),
    "a-word-that-no-flag-says": (
        "use cpu_quota, cpu_burst",
        "set cpu.max",
        "cpu_quota=5ms cpu_burst=5ms",
        ("cgroup_conf",),
        "use cpu_quota, cpu_burst",
        "cpu_quota=5ms cpu_burst=5ms",
    ),
    "of-a-disk": (
        "io_rbps of 8:0 cannot be 5",
        "set io_rbps of 8:0",
        None,
        ("device_read_bps",),
        "--device-read-bps of 8:0 cannot be 5",
        None,
    ),
    "two-words": (
        "cpu_rt_runtime is 2, and must be no more than cpu_rt_period, 1",
        "set cpu_rt_runtime",
        None,
        ("cpu_rt_runtime", "cpu_rt_period"),
        "--cpu-rt-runtime is 2, and must be no more than --cpu-rt-period, 1",
        None,
    ),
    "a-controller-of-that-name": (
        "the net_prio controller is not available",
        "set",
        None,
        ("net_prio",),
        "the net_prio controller is not available",
        None,
    ),
    "said-by-nobody-here": (
        "cpuset cannot be 9",
        "set cpuset",
        None,
        ("memory",),
        "cpuset cannot be 9",
        None,
    ),
    "prose-is-left-alone": (
        "memory and swap together are less",
        "create group",
        "cgmgr group ls",
        ("memory",),
        "memory and swap together are less",
        "cgmgr group ls",
    ),
    "a-file-is-left-alone": (
        "write '5' to /sys/fs/cgroup/io_weight/x: no such file",
        "write",
        None,
        ("blkio_weight",),
        "write '5' to /sys/fs/cgroup/io_weight/x: no such file",
        None,
    ),
}


@pytest.mark.parametrize(
    ("message", "operation", "hint", "given", "said", "hinted"), SAID.values(), ids=SAID
)
def test_words_become_the_flags_that_said_them(
    message: str,
    operation: str,
    hint: str | None,
    given: tuple[str, ...],
    said: str,
    hinted: str | None,
) -> None:
    error = in_flags(RequestError(message, operation=operation, hint=hint), given)

    assert (str(error), error.hint) == (said, hinted)


TYPED: dict[str, tuple[list[str], dict[str, str]]] = {
    "ours": (["memory=1G", "memory_high=5M"], {}),
    "dashes": (["memory-high=5M"], {"memory_high": "memory-high"}),
    "docker's": (["memory-reservation=64M"], {"memory_soft": "memory-reservation"}),
    "docker's-sum": (["memory=1G", "memory-swap=2G"], {"swap": "memory-swap"}),
    "systemd's": (
        ["MemoryHigh=5M", "TasksMax=4"],
        {"memory_high": "MemoryHigh", "pids": "TasksMax"},
    ),
    "malformed": (["MemoryHigh=5Q"], {}),
    "the-first-of-two": (["memory-low=5M", "MemoryLow=6M"], {"memory_low": "memory-low"}),
}


@pytest.mark.parametrize(("texts", "words"), TYPED.values(), ids=TYPED)
def test_what_was_typed_for_a_word(texts: list[str], words: dict[str, str]) -> None:
    assert typed(texts) == words


def test_words_become_what_was_typed() -> None:
    error = RequestError(
        "memory_high cannot be held here; memory_low can", operation="set memory_high"
    )

    assert str(in_typed(error, {"memory_high": "MemoryHigh"})) == (
        "MemoryHigh cannot be held here; memory_low can"
    )


def test_the_error_stays_what_it_was() -> None:
    error = ControllerUnavailable(
        "swap cannot be held here", controller="memory", operation="set swap"
    )

    assert in_flags(error, ("swap",)) is error
    assert error.controller == "memory"


def test_the_table_names_words_and_flags() -> None:
    assert set(SAYERS) <= set(NAMES)
    assert {flag for flags in SAYERS.values() for flag in flags} <= set(FLAGS)
    assert {"kernel_memory", *(f for flags in SAYERS.values() for f in flags)} == set(FLAGS)


def test_a_flag_as_it_is_typed() -> None:
    assert dashed("memory_swap") == "--memory-swap"
