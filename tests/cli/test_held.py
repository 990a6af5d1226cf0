"""What `group get` shows as held: every setting, from the group's own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.cli import group_get, held, usage
from cgmgr.group import Group
from cgmgr.manager import Manager
from cgmgr.resources import Resources
from cgmgr.resources.words import resources_of
from cgmgr.rundir import Rundir
from cgmgr.stats import MemoryStats, PidsStats, Stats
from tests.fakefs import unpack

HYBRID = "debian12-hybrid"
UNIFIED = "debian12-unified"
BOTH = (HYBRID, UNIFIED)

#: a word, its value, where it can be held, what is shown, where that is not what was asked
WORDS: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, str]]] = {
    "memory": ({"memory": "64M"}, BOTH, {}),
    "memory-rounded": ({"memory": 10_000_000}, BOTH, {"memory": "9764K"}),
    "high": ({"memory_high": "64M"}, (UNIFIED,), {}),
    "low": ({"memory_low": "64M"}, (UNIFIED,), {}),
    "soft": ({"memory_soft": "64M"}, (HYBRID,), {}),
    "swap": ({"memory": "64M", "swap": "16M"}, BOTH, {}),
    "no-swap": ({"memory": "64M", "swap": 0}, BOTH, {}),
    "swappiness": ({"swappiness": 30}, (HYBRID,), {}),
    "oom": ({"oom_kill_disable": True}, (HYBRID,), {}),
    "oom-group": ({"oom_group": True}, (UNIFIED,), {}),
    "weight": ({"cpu_weight": 50}, BOTH, {}),
    "shares": ({"cpu_shares": 1_000}, (HYBRID,), {}),
    "idle": ({"cpu_idle": True}, BOTH, {}),
    "burst": ({"cpus": 0.5, "cpu_burst": "10ms"}, BOTH, {}),
    "quota": ({"cpu_quota": "10ms"}, BOTH, {}),
    "no-quota": ({"cpus": "max"}, BOTH, {}),
    "cpuset": ({"cpuset": "0-1", "mems": 0}, BOTH, {}),
    "pids": ({"pids": 20}, BOTH, {}),
    "no-pids": ({"pids": "max"}, BOTH, {}),
    "rates": ({"io_rbps": "254:0=1M", "io_wiops": "254:0=7"}, BOTH, {}),
    "no-rate": ({"io_rbps": "254:0=max"}, BOTH, {}),
    "devices": ({"devices": "c 1:3 rwm"}, (HYBRID,), {}),
    "frozen": ({"frozen": True}, BOTH, {}),
    "thawed": ({"frozen": False}, BOTH, {}),
    "hugetlb": ({"hugetlb": "2MB=4M"}, BOTH, {}),
    "hugetlb-apart": ({"hugetlb_max": "2MB=4M", "hugetlb_rsvd": "2MB=8M"}, BOTH, {}),
    "perf": ({"perf_event": True}, BOTH, {}),
    "raw": ({"cgroup.max.depth": "5"}, BOTH, {}),
}
CASES = [
    pytest.param(host, said, shown, id=f"{name}-{host}")
    for name, (said, hosts, shown) in WORDS.items()
    for host in hosts
]


@pytest.fixture
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    host = unpack(request.param, tmp_path / "host")
    yield Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))


def rows(group: Group, words: list[str] | None = None) -> dict[str, tuple[str, str]]:
    """What is asked and held of each word, as the table has it."""
    asked = usage.asked(group.resources)
    drifted = held.drifted(group, asked)
    found = held.held(group, drifted)
    raw = held.raw(group)
    shown: dict[str, tuple[str, str]] = {}
    for word in words or asked:
        value = raw.get(word) if "." in word else held.value_of(word, found, group.resources)
        text = "" if value is None else held.spelled(word, value)
        shown[word] = (asked.get(word, ""), "! " * (word in drifted) + text)
    return shown


@pytest.mark.parametrize(("manager", "said", "shown"), CASES, indirect=["manager"])
def test_what_was_asked_is_held(
    manager: Manager, said: dict[str, Any], shown: dict[str, str]
) -> None:
    group = manager.create("x", resources_of(**said))

    for word, (asked, real) in rows(group).items():
        assert real == shown.get(word, asked), word
    assert group.diff() == []


@pytest.mark.parametrize("manager", [HYBRID], indirect=True)
def test_only_what_drifted_is_marked(manager: Manager) -> None:
    group = manager.create("x", memory="64M", swap="16M", pids=20)
    group.directory("pids").write("pids.max", "7")
    group.directory("memory").write("memory.memsw.limit_in_bytes", str(96 << 20))

    found = rows(group)

    assert found["pids"] == ("20", "! 7")
    assert found["swap"] == ("16M", "! 32M")
    assert found["memory"] == ("64M", "64M")


@pytest.mark.parametrize("manager", BOTH, indirect=True)
def test_what_nobody_asked_for_is_held_too(manager: Manager) -> None:
    group = manager.create("x", pids=20)

    found = rows(group, ["memory", "cpu_weight", "frozen", "pids", "net_classid"])

    assert found["memory"] == ("", "max")
    assert found["cpu_weight"] == ("", "100")
    assert found["frozen"] == ("", "no")
    assert found["net_classid"] == ("", "")


@pytest.mark.parametrize("manager", [HYBRID], indirect=True)
def test_a_file_that_cannot_be_read_hides_nothing_else(manager: Manager) -> None:
    group = manager.create("x", memory="64M", swappiness=30)
    Path(group.host.need("memory").mountpoint, "cgmgr/x/memory.oom_control").write_text("nonsense")

    found = held.held(group, set())

    assert (found.memory.max_bytes, found.memory.swappiness) == (64 << 20, 30)


@pytest.mark.parametrize("manager", [UNIFIED], indirect=True)
def test_a_filter_without_a_file_is_as_asked_unless_it_drifted(manager: Manager) -> None:
    asked = resources_of(devices="c 1:3 rwm")
    group = manager.create("x")
    group.resources = asked

    assert held.held(group, set()).devices == asked.devices
    assert held.held(group, {"devices"}).devices is None


def test_reserved_and_touched_pages_that_differ_are_both_shown() -> None:
    asked = resources_of(hugetlb="2MB=4M")
    real = resources_of(hugetlb_max="2MB=4M", hugetlb_rsvd="2MB=8M")

    value = held.value_of("hugetlb", real, asked)

    assert held.spelled("hugetlb", value) == "2MB=max_bytes:4M,rsvd_max_bytes:8M"


def test_rdma_is_spelled_as_it_is_written() -> None:
    asked = resources_of(rdma="mlx5_0=hca_handle:2,hca_object:3")

    value = held.value_of("rdma", asked, asked)

    assert held.spelled("rdma", value) == "mlx5_0=hca_handle:2,hca_object:3"


@pytest.mark.parametrize(
    ("word", "stats", "shown"),
    [
        ("memory", Stats(memory=MemoryStats(usage_bytes=12 << 20)), "12MiB"),
        ("swap", Stats(memory=MemoryStats(swap_usage_bytes=3 << 20)), "3MiB"),
        ("swap", Stats(memory=MemoryStats(usage_bytes=3 << 20)), ""),
        ("pids", Stats(pids=PidsStats(current=4)), "4"),
        ("pids", Stats(), ""),
        ("swappiness", Stats(memory=MemoryStats(usage_bytes=3)), ""),
    ],
)
def test_what_is_used(word: str, stats: Stats, shown: str) -> None:
    assert group_get._used(word, stats) == shown  # pyright: ignore[reportPrivateUsage]


def test_nothing_is_held_of_a_word_that_no_file_has() -> None:
    assert held.value_of("cgroup.max.depth", Resources(), Resources()) is None
