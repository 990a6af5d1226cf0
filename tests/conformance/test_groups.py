"""One suite for every driver: set, read back, seen to bite, changed live, removed without trace.

What a machine has not is skipped with the reason; a driver's own business is in files of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cgmgr.errors import CgmgrError, HostError, RequestError
from cgmgr.group import Group
from cgmgr.host import UNIFIED, Host
from cgmgr.manager import Manager
from cgmgr.spawn import DEVNULL

from .conftest import Proves

MIB = 1 << 20
DISK = Path("/dev/disk/by-id/virtio-second")
WEIGHTED = Path("/dev/disk/by-id/virtio-weighted")
RDMA = Path("/sys/class/infiniband/rxe0")


class Case(NamedTuple):
    """Settings of one controller, and others that it is changed to while the group lives; `row` is
    README's."""

    row: str
    controller: str
    words: dict[str, Any]
    then: dict[str, Any]


CASES = {
    "memory": Case("memory", "memory", {"memory": "64M"}, {"memory": "32M"}),
    "memory and swap": Case(
        "swap", "memory", {"memory": "64M", "swap": "16M"}, {"memory": "128M", "swap": "8M"}
    ),
    "no limit again": Case("memory", "memory", {"memory": "64M"}, {"memory": "max"}),
    "cpu quota": Case("cpu quota", "cpu", {"cpus": 0.5}, {"cpus": 1.5}),
    "cpu quota down": Case("cpu quota", "cpu", {"cpus": 1.5}, {"cpus": 0.25}),
    "cpu weight": Case("cpu weight", "cpu", {"cpu_weight": 200}, {"cpu_weight": 50}),
    "pids": Case("pids", "pids", {"pids": 20}, {"pids": 10}),
    "cpuset": Case("cpuset", "cpuset", {"cpuset": "0-1", "mems": "0"}, {"cpuset": "1"}),
    "hugetlb": Case("hugetlb", "hugetlb", {"hugetlb": "2MB=4M"}, {"hugetlb": "2MB=8M"}),
    "rdma": Case("rdma", "rdma", {"rdma": "rxe0=hca_handle:2"}, {"rdma": "rxe0=hca_handle:3"}),
    "net_cls": Case("net_cls", "net_cls", {"net_classid": "1:1"}, {"net_classid": "1:2"}),
    "net_prio": Case("net_prio", "net_prio", {"net_prio": "lo=3"}, {"net_prio": "lo=4"}),
    "io rates": Case("io rates", "io", {"io_rbps": f"{DISK}=1M"}, {"io_rbps": f"{DISK}=2M"}),
    "io weight": Case("io weight", "io", {"io_weight": 200}, {"io_weight": 50}),
    "io weight of a disk": Case(
        *("io weight", "io", {"io_device_weight": f"{WEIGHTED}=200"}),
        {"io_device_weight": f"{WEIGHTED}=50"},
    ),
}
#: what no guest has
REFUSED = {"misc": {"misc": "sev=1"}, "io latency": {"io_latency": f"{DISK}=10ms"}}


def here(host: Host, case: Case) -> bool:
    """Whether a hierarchy holds it; skips where there is nothing to control."""
    if case.controller == "rdma" and not RDMA.exists():
        pytest.skip("no rdma device")
    for disk in (DISK, WEIGHTED):
        if str(disk) in str(case.words) and not disk.exists():
            pytest.skip(f"no {disk}")
    return host.holder(case.controller) is not None


@pytest.mark.parametrize("name", CASES)
def test_set_changed_removed(
    manager: Manager, host: Host, run_token: str, name: str, proves: Proves
) -> None:
    case = CASES[name]
    if not here(host, case):
        refused(manager, f"{run_token}-life", case.words, HostError)
        proves(case.row, "refused")
        return
    group = manager.create(f"{run_token}-life", **case.words)
    try:
        assert group.diff() == []
        report = group.update(**case.then)
        assert not report.refused
        assert group.diff() == []
        again = manager.open(group.name)
        assert again.diff() == []
        again.close()
    finally:
        group.delete()
    assert manager.driver.paths(group.name) == {}
    assert traces(run_token) == []
    proves(case.row, "held")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_held_is_refused(
    manager: Manager, run_token: str, name: str, proves: Proves
) -> None:
    words = REFUSED[name]
    if str(DISK) in str(words) and not DISK.exists():
        pytest.skip(f"no {DISK}")
    error = refused(manager, f"{run_token}-life", words, (HostError, RequestError))
    assert name.split()[-1] in str(error)
    proves(name, "refused")


def refused(
    manager: Manager,
    name: str,
    words: dict[str, Any],
    kind: type[CgmgrError] | tuple[type[CgmgrError], ...],
) -> CgmgrError:
    """Nothing is made where something cannot be held."""
    with pytest.raises(kind) as caught:
        manager.create(name, **words)
    assert manager.driver.paths(manager.full_name(name)) == {}
    assert traces(name) == []
    return caught.value


def traces(token: str) -> list[str]:
    """What is left of groups with that token in their names: directories, units, drop-ins."""
    places = [Path("/sys/fs/cgroup"), Path("/run/systemd/transient")]
    found = [str(path) for place in places for path in place.rglob(f"*{token}*")]
    if Path("/run/systemd/system").is_dir():
        words = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"*{token}*"]
        found += subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
    return found


def test_everybody_is_where_the_group_is(group: Group) -> None:
    done = group.run(["cat", "/proc/self/cgroup"], capture=True)
    assert done.stdout is not None
    seen = dict(line.split(":", 2)[1:] for line in done.stdout.decode().splitlines())
    assert {key: seen[key] for key in group.paths} == group.paths


def test_a_memory_hog_is_killed_and_whose_limit_it_was_is_known(
    group: Group, proves: Proves
) -> None:
    group.update(memory="24M", swap=0)
    hog = "x = bytearray(200 << 20); x[::4096] = b'a' * len(x[::4096])"
    done = group.run([sys.executable, "-I", "-S", "-c", hog], stdout=DEVNULL, stderr=DEVNULL)

    assert done.signal == 9
    assert done.oom is not None
    assert (done.oom.whose, done.oom.kills) == ("own", 1)
    assert done.oom.limit_bytes == 24 * MIB
    assert group.run(["true"]).exit == 0, "the group goes on"
    proves("memory", "bites")


def test_forks_beyond_the_limit_are_refused(group: Group, proves: Proves) -> None:
    group.update(pids=1)
    done = group.run(["sh", "-c", "true & wait"], stderr=DEVNULL)

    assert done.exit != 0
    assert done.pids_refused
    group.update(pids=20)
    assert group.run(["sh", "-c", "true & wait"]).exit == 0
    proves("pids", "bites")


def test_a_quota_throttles(group: Group, proves: Proves) -> None:
    group.update(cpus=0.1)
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    done = group.run([sys.executable, "-I", "-S", "-c", burn])

    assert done.exit == 0
    assert done.throttled_usec
    assert done.nr_throttled
    proves("cpu quota", "bites")


def test_a_device_is_denied_and_allowed(group: Group, host: Host, proves: Proves) -> None:
    if host.holder("devices") is None:
        pytest.skip("no hierarchy holds devices")
    group.update(devices="c 1:3 rwm")
    assert group.run(["sh", "-c", ": < /dev/null"]).exit == 0
    assert group.run(["sh", "-c", ": < /dev/zero"], stderr=DEVNULL).exit != 0
    group.update(devices="c 1:3 rwm,c 1:5 r")
    assert group.run(["sh", "-c", ": < /dev/zero"]).exit == 0
    proves("devices", "bites")


def test_a_cpuset_confines(group: Group, host: Host, proves: Proves) -> None:
    if host.holder("cpuset") is None or len(host.facts.cpus) < 2:
        pytest.skip("no cpuset, or one CPU")
    group.update(cpuset="1", mems="0")
    done = group.run(
        [sys.executable, "-I", "-S", "-c", "import os; print(*os.sched_getaffinity(0))"],
        capture=True,
    )
    assert done.stdout == b"1\n"
    proves("cpuset", "bites")


def test_what_is_frozen_stands_still(group: Group, proves: Proves) -> None:
    with group.popen(["sh", "-c", "while :; do :; done"]) as process:
        group.freeze()
        assert group.state == "frozen"
        before = cpu_ticks(process.pid)
        done = subprocess.run([sys.executable, "-I", "-S", "-c", "sum(range(10**6))"], check=True)
        assert done.returncode == 0
        assert cpu_ticks(process.pid) == before
        group.thaw()
        assert group.state == "thawed"
        while cpu_ticks(process.pid) == before:
            os.sched_yield()
        group.kill()
    proves("freezer", "bites")


def cpu_ticks(pid: int) -> list[str]:
    """utime and stime of a process (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]


def test_a_program_in_a_namespace_of_its_own_sees_its_limits(group: Group, host: Host) -> None:
    if host.mode != UNIFIED:
        pytest.skip("looks at cgroup2's files, and they are v1's here")
    group.update(memory="64M", cpus=0.5, pids=30)
    look = "mount -t cgroup2 none /mnt && cd /mnt && cat memory.max cpu.max pids.max"
    done = group.run(["unshare", "--cgroup", "--mount", "sh", "-c", look], capture=True)
    assert done.stdout == b"67108864\n50000 100000\n30\n"


def test_groups_are_listed_and_opened_by_what_was_said(manager: Manager, run_token: str) -> None:
    said = f"{run_token}-said"
    with manager.create(said, memory="64M") as group:
        assert group.name in manager.list()
        found = manager.open(said)
        assert (found.name, found.resources) == (group.name, group.resources)
        found.close()
    assert group.name not in manager.list()


def test_a_process_is_moved_in(group: Group) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        group.add(process.pid)
        assert group.pids() == [process.pid]
        group.kill()
        assert process.wait() == -9
