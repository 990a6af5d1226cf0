"""`cgmgr group get` on this kernel: every setting that is asked for shows what is held."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.host import Host
from tests.cli.command import cgmgr, directories, left


@pytest.fixture
def group(run_token: str) -> Iterator[str]:
    chosen = f"{run_token}-held"
    yield chosen
    if left(chosen):
        cgmgr("group", "rm", "-f", chosen)
    assert left(chosen) == []


def disk() -> str | None:
    disks = [path / "dev" for path in sorted(Path("/sys/block").iterdir())]
    return next((dev.read_text().strip() for dev in disks if dev.exists()), None)


def test_every_setting_shows_what_is_held(group: str) -> None:
    host = Host.detect()
    words = {
        "memory": "64M",
        "swap": "16M",
        "cpus": "0.5",
        "cpu_burst": "10000us",
        "cpu_weight": "50",
        "cpuset": "0",
        "pids": "20",
        "devices": "c 1:3 rwm",
        "frozen": "no",
        "cgroup.max.depth": "5",
    }
    if host.need("memory").version == 1:
        words["swappiness"] = "30"
    if (number := disk()) is not None:
        words["io_rbps"] = f"{number}=1M"
    asked = [f"{word}={value}" for word, value in words.items()]
    made = cgmgr("group", "create", group, *asked)
    assert (made.returncode, made.stderr) == (0, "")

    table = cgmgr("group", "get", group, *words).stdout.splitlines()[2:]

    for word, value in words.items():
        row = next(line for line in table if line.split()[:1] == [word])
        assert row.split(word, 1)[1].split()[: 2 * len(value.split())] == value.split() * 2, row


def test_a_filter_that_somebody_changed_is_marked(group: str) -> None:
    if Host.detect().need("devices").version == 2:
        pytest.skip("the filter has no file there")
    assert cgmgr("group", "create", group, "devices=c 1:3 rwm").returncode == 0
    (folder,) = [path for path in directories(group) if (path / "devices.allow").exists()]
    (folder / "devices.allow").write_text("c 1:5 rwm")

    shown = cgmgr("group", "get", group, "devices").stdout

    assert "! c 1:3 rwm, c 1:5 rwm" in shown
    assert f"! {folder}/devices.deny holds c 1:3 rwm, c 1:5 rwm, asked was c 1:5 rwm" in shown


def test_asked_swap_stays_asked(group: str) -> None:
    if Host.detect().need("memory").version == 2:
        pytest.skip("swap is limited for itself there")
    assert cgmgr("group", "create", group, "memory=100M", "swap=10M").returncode == 0
    (folder,) = [f for f in directories(group) if (f / "memory.limit_in_bytes").exists()]
    memsw = folder / "memory.memsw.limit_in_bytes"
    if not memsw.exists():
        pytest.skip("this kernel does not count swap by group")

    refused = cgmgr("group", "set", group, "memory=max")
    assert refused.returncode == 1
    assert "hint: write swap=max" in refused.stderr
    assert memsw.read_text().strip() == str(110 << 20)

    for file in (memsw, folder / "memory.limit_in_bytes"):
        file.write_text("-1")
    shown = cgmgr("group", "get", group)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "10M    ! max" in shown.stdout

    assert cgmgr("group", "set", group, "memory=200M").returncode == 0
    assert memsw.read_text().strip() == str(210 << 20)
    assert "!" not in cgmgr("group", "get", group).stdout


def test_freezing_and_thawing_is_asking(group: str) -> None:
    assert cgmgr("group", "create", group, "frozen=true").returncode == 0

    for verb, held in (("thaw", "no"), ("freeze", "yes"), ("freeze", "yes")):
        assert cgmgr("group", verb, group).returncode == 0
        shown = cgmgr("group", "get", group, "frozen").stdout
        assert f"frozen   {held:<5}  {held}" in shown
        assert "!" not in shown
