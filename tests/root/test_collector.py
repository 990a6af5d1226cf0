"""The collector on real groups: what a process uses is what Prometheus would see."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cgmgr.exporters.collector import Collector
from cgmgr.host import Host
from cgmgr.kept import Budget
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir


class Below(Manager):
    """The groups below one parent, this run's."""

    parent = ""

    def list(self, parent: str | None = None) -> list[str]:
        return super().list(parent or self.parent)


@pytest.fixture
def manager(tmp_path: Path, run_token: str) -> Below:
    made = Below(Host.detect(), driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    made.parent = f"/{run_token}-shown"
    return made


@pytest.fixture
def registry(manager: Below) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Collector(manager))
    return made


@pytest.fixture
def eater() -> Generator[subprocess.Popen[bytes]]:
    """Waits for a line, then takes 32 MiB and says so."""
    code = "input(); held = bytearray(b'x' * (32 << 20)); print(flush=True); input()"
    process = subprocess.Popen(
        ["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


def scraped(registry: CollectorRegistry, name: str) -> dict[str, dict[str, float]]:
    """Sample name -> value of the series of one group that have no labels of their own."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            assert sample.timestamp is None
            if sample.labels.get("name") == name:
                own = {k: v for k, v in sample.labels.items() if k not in ("id", "name", "image")}
                found.setdefault(sample.name, {})["/".join(own.values())] = sample.value
    return found


def test_what_a_process_uses_is_shown(
    manager: Below, registry: CollectorRegistry, eater: subprocess.Popen[bytes]
) -> None:
    assert eater.stdin is not None
    assert eater.stdout is not None
    with manager.create(f"{manager.parent}/one", memory="128M", pids=7) as group:
        group.add(eater.pid)
        eater.stdin.write(b"\n")
        eater.stdin.flush()
        eater.stdout.readline()
        shown = scraped(registry, "one")
        eater.kill()
        eater.wait()

    mib = 1 << 20
    assert shown["container_spec_memory_limit_bytes"][""] == 128 * mib
    assert 32 * mib <= shown["container_memory_rss"][""] < 128 * mib
    assert 32 * mib <= shown["container_memory_usage_bytes"][""] <= 128 * mib
    assert 32 * mib <= shown["container_memory_max_usage_bytes"][""] <= 128 * mib
    assert 32 * mib <= shown["container_memory_working_set_bytes"][""]
    assert shown["container_threads"][""] == 1
    assert shown["container_threads_max"][""] == 7
    assert shown["container_cpu_usage_seconds_total"]["total"] > 0
    assert shown["container_memory_failures_total"]["pgfault/hierarchy"] >= 32 * mib / os.sysconf(
        "SC_PAGE_SIZE"
    )


def test_recorded_groups_are_shown_wherever_they_are(tmp_path: Path, run_token: str) -> None:
    manager = Manager(Host.detect(), driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    registry = CollectorRegistry()
    registry.register(Collector(manager))
    top = f"/{run_token}-elsewhere"

    with (
        manager.create(f"{run_token}-below"),
        manager.create(f"{run_token}-below/in/it"),
        manager.create(f"{top}/one"),
    ):
        assert scraped(registry, f"{run_token}-below")
        assert scraped(registry, "it")
        assert scraped(registry, "one")
        assert scraped(registry, "in") == scraped(registry, top[1:]) == {}, "a parent only"
        assert registry.get_sample_value("container_scrape_error") == 0
    assert scraped(registry, "it") == scraped(registry, "one") == {}


def test_a_removed_group_is_gone_at_once(manager: Below, registry: CollectorRegistry) -> None:
    with manager.create(f"{manager.parent}/one"), manager.create(f"{manager.parent}/two"):
        assert scraped(registry, "one")
        assert scraped(registry, "two")
    assert scraped(registry, "one") == {}

    with manager.create(f"{manager.parent}/one"):
        assert scraped(registry, "one")
        assert registry.get_sample_value("container_scrape_error") == 0


def held(name: str) -> list[str]:
    """The files of a group of that name that this process has open; those of a removed one too."""
    links: list[str] = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very list
            links.append(str(fd.readlink()))
    return [link for link in links if f"/{name}/" in link]


def test_files_stay_open_and_say_what_is_true_then(
    manager: Below, registry: CollectorRegistry, eater: subprocess.Popen[bytes]
) -> None:
    with manager.create(f"{manager.parent}/one", pids=70) as group:
        assert scraped(registry, "one")["container_threads"][""] == 0
        kept = sorted(held("one"))
        assert len(kept) > 10

        group.add(eater.pid)
        assert eater.stdin is not None
        assert eater.stdout is not None
        eater.stdin.write(b"\n")
        eater.stdin.flush()
        eater.stdout.readline()  # it is one task by now, however it started
        group.update(pids=90)
        shown = scraped(registry, "one")

        assert shown["container_threads"][""] == 1
        assert shown["container_threads_max"][""] == 90
        assert sorted(held("one")) == kept
        eater.kill()
        eater.wait()
    scraped(registry, "one")
    assert held("one") == []


def test_a_group_made_anew_under_its_name_is_read_anew(
    manager: Below, registry: CollectorRegistry
) -> None:
    with manager.create(f"{manager.parent}/one", pids=7):
        before = scraped(registry, "one")
        kept = len(held("one"))
    with manager.create(f"{manager.parent}/one", pids=8):
        after = scraped(registry, "one")

        assert before["container_threads_max"][""] == 7
        assert after["container_threads_max"][""] == 8
        assert after.keys() == before.keys()
        assert registry.get_sample_value("container_scrape_error") == 0
        assert len(held("one")) == kept, "those of the removed one are closed"
    scraped(registry, "one")


def test_no_more_files_stay_open_than_there_is_room_for(manager: Below) -> None:
    budget = Budget(5)
    registry = CollectorRegistry()
    registry.register(Collector(manager, budget=budget))
    with manager.create(f"{manager.parent}/one"), manager.create(f"{manager.parent}/two"):
        first = scraped(registry, "one"), scraped(registry, "two")

        assert len(held("one") + held("two")) == 5
        assert budget.left == 0
        assert [group.keys() for group in first] == [first[0].keys()] * 2
    scraped(registry, "one")
    assert held("one") + held("two") == []
    assert budget.left == 5
