"""The collector: golden text, what is missing, and what comes and goes between two scrapes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition, parser

from cgmgr.errors import GroupGone, HostError, KernelError, NoSuchGroup
from cgmgr.exporters.collector import Collector, device_names
from cgmgr.exporters.metrics import COUNTER, LAST_SEEN, TABLE, UNKNOWN
from cgmgr.host import Host
from cgmgr.kept import KeptFiles
from cgmgr.stats import (
    CpuStats,
    HugetlbSizeStats,
    HugetlbStats,
    IoDeviceStats,
    IoStats,
    MemoryStats,
    PidsStats,
    Pressure,
    PressureLine,
    PressureStats,
    Stats,
    StatsError,
)
from cgmgr.units import MAX

#: without annotations in prometheus_client
OPENMETRICS: Any = exposition
OPENMETRICS_PARSER: Any = parser

WEB = {"id": "/cgmgr/web", "name": "web", "image": ""}
UNREADABLE = StatsError(file="memory.stat", message="read memory.stat: permission denied")


def line(total_usec: int) -> PressureLine:
    return PressureLine(avg10=0.5, avg60=0.25, avg300=0.0, total_usec=total_usec)


EVERYTHING = Stats(
    cpu=CpuStats(
        usage_usec=1_500_000,
        user_usec=1_000_000,
        system_usec=500_000,
        nr_periods=10,
        nr_throttled=3,
        throttled_usec=250_000,
        nr_bursts=1,
        burst_usec=1,
        percpu_usec=(1_000_000, 500_000),
        weight=100,
        quota_us=50_000,
        period_us=100_000,
    ),
    memory=MemoryStats(
        usage_bytes=1000,
        peak_bytes=2000,
        max_bytes=4096,
        low_bytes=0,
        swap_usage_bytes=5,
        swap_max_bytes=MAX,
        stat={
            "anon": 100,
            "file": 200,
            "file_mapped": 20,
            "kernel": 30,
            "active_file": 40,
            "inactive_file": 50,
            "file_dirty": 1,
            "file_writeback": 2,
            "pgfault": 7,
            "pgmajfault": 8,
            "pgscan": 9,
            "pgsteal": 10,
            "workingset_refault_anon": 11,
            "workingset_refault_file": 12,
        },
        events={"low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 6},
        local_events={"max": 2, "oom_kill": 1},
    ),
    io=IoStats(
        devices=(
            IoDeviceStats(
                device="8:0",
                rbytes=1,
                wbytes=2,
                rios=3,
                wios=4,
                cost={"usage": 1_000_000, "wait": 2},
            ),
            IoDeviceStats(device="8:16", rbytes=10),
        )
    ),
    pids=PidsStats(current=4, max=MAX),
    hugetlb=HugetlbStats(sizes=(HugetlbSizeStats(size="2MB", usage_bytes=0, events_max=1),)),
    pressure=Pressure(
        cpu=PressureStats(some=line(1), full=line(2)),
        memory=PressureStats(some=line(3), full=line(4)),
        io=PressureStats(some=line(5)),
    ),
)


def collector(*pairs: tuple[Mapping[str, str], Stats]) -> Collector:
    return Collector(lambda: pairs, devices={"8:0": "/dev/sda"}, clock=lambda: 1_700_000_000.9)


def registry_of(*pairs: tuple[Mapping[str, str], Stats]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector(*pairs))
    return registry


def values(families: list[Metric], name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    ]


def value(families: list[Metric], name: str) -> float:
    [(_, number)] = values(families, name)
    return number


def test_the_text_of_one_group() -> None:
    text = generate_latest(registry_of((WEB, EVERYTHING))).decode()
    golden = Path(__file__).with_name("web.prom").read_text()

    took = [line for line in text.splitlines() if line.startswith("cgmgr_scrape_duration_sec")]
    assert len(took) == 1
    assert float(took[0].split()[1]) >= 0
    assert text.replace(f"{took[0]}\n", "") == golden


def test_openmetrics_says_the_same() -> None:
    registry = registry_of((WEB, EVERYTHING))
    text = OPENMETRICS.generate_latest(registry).decode()
    families: list[Metric] = list(OPENMETRICS_PARSER.text_string_to_metric_families(text))

    by_name = {family.name: family for family in families}
    assert by_name["container_memory_failcnt"].type == UNKNOWN
    assert value(families, "container_memory_failcnt") == 2
    assert by_name["container_memory_failures"].type == COUNTER
    assert {s.name for f in families for s in f.samples} == {
        s.name for f in registry.collect() for s in f.samples
    }


def test_no_sample_has_a_timestamp() -> None:
    samples = [s for f in collector((WEB, EVERYTHING)).collect() for s in f.samples]

    assert len(samples) > 50
    assert [s for s in samples if s.timestamp is not None or s.exemplar is not None] == []


def test_the_table_keeps_the_rules_of_names() -> None:
    names = [metric.name for metric in TABLE]
    assert len(set(names)) == len(names)
    for metric in TABLE:
        assert metric.name.startswith("container_")
        assert metric.name.endswith("_total") == (metric.kind == COUNTER), metric.name
        assert metric.help.endswith(".")


def test_every_metric_is_shown_once_the_kernel_tells() -> None:
    """Whatever the golden text lacks is a row without a test."""
    golden = Path(__file__).with_name("web.prom").read_text()
    missing = [metric.name for metric in TABLE if f"\n{metric.name}{{" not in f"\n{golden}"]

    assert missing == [
        "container_fs_io_cost_indebt_seconds_total",
        "container_fs_io_cost_indelay_seconds_total",
        "container_pressure_io_stalled_seconds_total",
        "container_hugetlb_max_usage_bytes",
    ]


def test_a_silent_kernel_gives_no_sample_and_no_error() -> None:
    families = collector((WEB, Stats())).collect()

    assert [family.name for family in families] == [
        LAST_SEEN,
        "container_scrape_error",
        "cgmgr_scrape_errors",
        "cgmgr_scrape_duration_seconds",
        "cgmgr_build_info",
    ]
    assert value(families, "container_scrape_error") == 0


@pytest.mark.parametrize(
    ("stats", "name", "expected"),
    [
        pytest.param(
            Stats(cpu=CpuStats(shares=512)), "container_spec_cpu_shares", 512, id="v1 shares"
        ),
        pytest.param(
            Stats(cpu=CpuStats(weight=59)), "container_spec_cpu_shares", 521, id="v2 weight"
        ),
        pytest.param(
            Stats(cpu=CpuStats(nr_throttled=0)),
            "container_cpu_cfs_throttled_periods_total",
            0,
            id="a counted zero",
        ),
        pytest.param(
            Stats(memory=MemoryStats(max_bytes=MAX)),
            "container_spec_memory_limit_bytes",
            0,
            id="no memory limit",
        ),
        pytest.param(
            Stats(memory=MemoryStats(soft_limit_bytes=7)),
            "container_spec_memory_reservation_limit_bytes",
            7,
            id="v1 soft limit",
        ),
        pytest.param(
            Stats(memory=MemoryStats(low_bytes=8)),
            "container_spec_memory_reservation_limit_bytes",
            8,
            id="v2 low",
        ),
        pytest.param(
            Stats(memory=MemoryStats(local_events={"oom_kill": 3})),
            "container_oom_events_total",
            3,
            id="v1 oom kills",
        ),
        pytest.param(Stats(pids=PidsStats(max=9)), "container_threads_max", 9, id="tasks"),
    ],
)
def test_values(stats: Stats, name: str, expected: float) -> None:
    assert value(collector((WEB, stats)).collect(), name) == expected


@pytest.mark.parametrize(
    ("stats", "name"),
    [
        pytest.param(Stats(cpu=CpuStats(quota_us=MAX)), "container_spec_cpu_quota", id="no quota"),
        pytest.param(
            Stats(cpu=CpuStats(usage_usec=1)), "container_cpu_cfs_periods_total", id="no periods"
        ),
        pytest.param(
            Stats(memory=MemoryStats(usage_bytes=1)),
            "container_memory_working_set_bytes",
            id="no memory.stat",
        ),
    ],
)
def test_what_is_not_known_is_missing(stats: Stats, name: str) -> None:
    assert values(collector((WEB, stats)).collect(), name) == []


def test_v1_tells_the_group_from_those_below() -> None:
    memory = MemoryStats(stat={"pgfault": 10}, local_stat={"pgfault": 4})
    families = collector((WEB, Stats(memory=memory))).collect()

    found = values(families, "container_memory_failures_total")
    assert [(labels["scope"], number) for labels, number in found] == [
        ("container", 4),
        ("hierarchy", 10),
    ]


def test_a_file_that_cannot_be_read_costs_its_own_values() -> None:
    broken = Stats(pids=PidsStats(current=1), errors=(UNREADABLE, UNREADABLE))
    answers = iter([broken, broken, Stats(pids=PidsStats(current=1))])
    scraped = Collector(lambda: [(WEB, next(answers))])

    for total, error in ((2, 1), (4, 1), (4, 0)):
        families = scraped.collect()
        assert value(families, "container_threads") == 1
        assert value(families, "cgmgr_scrape_errors_total") == total
        assert value(families, "container_scrape_error") == error


def test_a_source_that_fails_keeps_what_it_gave() -> None:
    def source() -> Iterator[tuple[Mapping[str, str], Stats]]:
        yield WEB, Stats(pids=PidsStats(current=1))
        raise KernelError("list groups: input/output error")

    families = Collector(source).collect()

    assert value(families, "container_threads") == 1
    assert value(families, "container_scrape_error") == 1


def test_a_mistake_of_the_application_is_not_hidden() -> None:
    def source() -> Iterator[tuple[Mapping[str, str], Stats]]:
        raise LookupError("a mistake")
        yield

    with pytest.raises(LookupError):
        Collector(source).collect()


def test_all_series_have_the_same_label_names() -> None:
    families = collector(
        ({"id": "/a"}, Stats(pids=PidsStats(current=1))),
        ({"id": "/b", "container_label_app": "x"}, Stats(pids=PidsStats(current=2))),
    ).collect()

    assert values(families, "container_threads") == [
        ({"id": "/a", "container_label_app": ""}, 1),
        ({"id": "/b", "container_label_app": "x"}, 2),
    ]


def test_labels_that_come_twice_are_shown_once() -> None:
    families = collector(
        (WEB, Stats(pids=PidsStats(current=1))),
        ({"id": "/cgmgr/web", "name": "web"}, Stats(pids=PidsStats(current=2))),
    ).collect()

    assert value(families, "container_threads") == 1
    assert value(families, "container_scrape_error") == 1


def test_registering_does_not_scrape() -> None:
    registry = CollectorRegistry(auto_describe=True)

    def source() -> list[tuple[Mapping[str, str], Stats]]:
        raise AssertionError("it was scraped")

    registry.register(Collector(source))
    with pytest.raises(ValueError, match="container_cpu_usage_seconds"):
        registry.register(Collector(source))


def test_scrapes_that_come_together_are_one() -> None:
    calls: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def source() -> list[tuple[Mapping[str, str], Stats]]:
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        return [(WEB, Stats())]

    scraped = Collector(source)
    results: list[list[Metric]] = []
    threads = [threading.Thread(target=lambda: results.append(scraped.collect())) for _ in "123"]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
        while not _has_asked(thread):
            pass
    go_on.set()
    for thread in threads:
        thread.join()

    assert len(calls) == 1
    assert results[0] is results[1] is results[2]
    assert scraped.collect() is not results[0]
    assert len(calls) == 2


def _has_asked(thread: threading.Thread) -> bool:
    """Whether the thread is inside `collect` and waits for its turn."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    frame = frames.get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "collect" and "asked" in frame.f_locals:
            return True
        frame = frame.f_back
    return False


# --- a manager -----------------------------------------------------------------------------------


class FakeGroup:
    """A group whose statistics are what the test says, until it is gone."""

    def __init__(self, name: str, answer: Callable[[], Stats]) -> None:
        self.name = name
        self.paths = {"cpu": f"/base{name}", "memory": f"/other{name}"}
        self.answer = answer
        self.closed = False

    def stats(self, _files: KeptFiles | None = None) -> Stats:
        return self.answer()

    def close(self) -> None:
        self.closed = True


class FakeManager:
    """Groups that come and go as the test says."""

    def __init__(self, host: Host, **groups: FakeGroup) -> None:
        self.host = host
        self.groups = groups
        self.opened: list[str] = []

    def list(self) -> list[str]:
        return sorted(group.name for group in self.groups.values())

    def recorded(self) -> Sequence[str]:
        return [*self.list(), "/removed-by-somebody-else"]

    def open(self, name: str) -> FakeGroup:
        self.opened.append(name)
        for group in self.groups.values():
            if group.name == name and not group.closed:
                return group
        raise NoSuchGroup(f"there is no group {name}")


def one() -> Stats:
    return Stats(
        pids=PidsStats(current=1), io=IoStats(devices=(IoDeviceStats(device="8:0", rios=1),))
    )


def gone() -> Stats:
    raise GroupGone("the group is gone")


def refused() -> Stats:
    raise HostError("no such hierarchy")


@pytest.fixture
def host() -> Host:
    return Host.detect()


def test_a_manager_shows_its_groups(host: Host) -> None:
    manager = FakeManager(host, a=FakeGroup("/cgmgr/a", one), b=FakeGroup("/cgmgr/x/b", one))
    scraped = Collector(manager, devices={"8:0": "/dev/sda"})

    for _ in range(2):
        families = scraped.collect()
        assert values(families, "container_threads") == [
            ({"id": "/base/cgmgr/a", "name": "a", "image": ""}, 1),
            ({"id": "/base/cgmgr/x/b", "name": "b", "image": ""}, 1),
        ]
        assert [labels["device"] for labels, _ in values(families, "container_fs_reads_total")] == [
            "/dev/sda"
        ] * 2
    opened = [name for name in manager.opened if name in manager.list()]
    assert opened == ["/cgmgr/a", "/cgmgr/x/b"], "each is opened once"
    assert value(scraped.collect(), "container_scrape_error") == 0


def test_a_group_that_goes_is_closed_and_no_error(host: Host) -> None:
    a, b = FakeGroup("/cgmgr/a", one), FakeGroup("/cgmgr/b", one)
    manager = FakeManager(host, a=a, b=b)
    scraped = Collector(manager)
    scraped.collect()

    del manager.groups["a"]
    families = scraped.collect()
    assert a.closed
    assert [labels["name"] for labels, _ in values(families, "container_threads")] == ["b"]

    b.answer = gone  # between the list and the look
    families = scraped.collect()
    assert b.closed
    assert values(families, LAST_SEEN) == []
    assert value(families, "container_scrape_error") == 0


def test_a_group_made_anew_is_opened_anew(host: Host) -> None:
    old, new = FakeGroup("/cgmgr/a", one), FakeGroup("/cgmgr/a", one)
    manager = FakeManager(host, a=old)
    scraped = Collector(manager)
    scraped.collect()

    old.answer = gone
    manager.groups["a"] = new
    families = scraped.collect()
    assert old.closed
    assert value(families, "container_threads") == 1
    assert [name for name in manager.opened if name == "/cgmgr/a"] == ["/cgmgr/a"] * 2


def test_a_group_that_cannot_be_read_is_an_error(host: Host) -> None:
    manager = FakeManager(host, a=FakeGroup("/cgmgr/a", refused), b=FakeGroup("/cgmgr/b", one))
    families = Collector(manager).collect()

    assert [labels["name"] for labels, _ in values(families, LAST_SEEN)] == ["b"]
    assert value(families, "container_scrape_error") == 1


def test_disks_by_their_names(host: Host) -> None:
    names = device_names(host)

    assert all(name.startswith("/dev/") for name in names.values())
    assert all(number.replace(":", "").isdigit() for number in names)
