"""Containers in groups of either driver, by the command, and seen from inside.

One container is asked all that can be asked of a peaceful one; the tests look at its answers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cgmgr.driver import BOOTED
from cgmgr.host import Host
from cgmgr.manager import Manager
from tests.root.containers import tiny_root

from .boxes import Box

LIMITS = (
    *("--memory", "64m", "--swap", "0", "--cpus", "0.5", "--pids-limit", "8"),
    *("--cpuset-cpus", "1"),
)
#: controller: its file and what that reads, on v1 and on v2
HELD = {
    "memory": {1: ("memory.limit_in_bytes", "67108864"), 2: ("memory.max", "67108864")},
    "cpu": {1: ("cpu.cfs_quota_us", "50000"), 2: ("cpu.max", "50000 100000")},
    "pids": {1: ("pids.max", "8"), 2: ("pids.max", "8")},
    "cpuset": {1: ("cpuset.cpus", "1"), 2: ("cpuset.cpus", "1")},
}
#: character devices that nobody has: refused by the group (EPERM), or found to be missing (ENXIO)
DENIED, ALLOWED = ("1", "98"), ("1", "99")


class Seen(NamedTuple):
    """What a container's command said, and what it left outside."""

    said: dict[str, list[str]]
    status: int
    root: Path
    volume: Path

    def one(self, word: str) -> str:
        return "\n".join(self.said[word])


@pytest.fixture(scope="module", params=["cgroupfs", "systemd"])
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "systemd" and not Path("/", BOOTED).is_dir():
        pytest.skip("needs systemd as PID 1 (sd_booted(3))")
    return name


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_root(tmp_path_factory.mktemp("containers") / "root")
    for name in ("dd", "mkdir", "mknod", "sed"):
        (made / "bin" / name).symlink_to("busybox")
    return made


@pytest.fixture(scope="module")
def box(host: Host, driver: str, run_token: str) -> Iterator[Box]:
    made = Box.of(Manager(host, driver=driver), f"{run_token}-box")
    yield made
    assert made.left() == []


def script_of(host: Host) -> str:
    """Lines of a word and what is said to it."""
    asked = {"group": "cat /proc/self/cgroup"}
    for name, texts in HELD.items():
        hierarchy = host.need(name)
        asked[name] = f"cat {hierarchy.mountpoint}/{texts[hierarchy.version][0]}"
    asked |= {
        "cpus": "sed -n s/^Cpus_allowed_list:.//p /proc/self/status",
        "mkdir": f"mkdir {host.need('memory').mountpoint}/x 2>&1",
        "allowed": f"mknod /dev/allowed c {' '.join(ALLOWED)} && cat /dev/allowed 2>&1",
        "denied": f"mknod /dev/denied c {' '.join(DENIED)} && cat /dev/denied 2>&1",
        "null": "echo x > /dev/null && echo written",
        "made": "echo text > /made && cat /made",
        "volume": "cat /vol/in && echo out > /vol/out",
        "fixed": "touch /fixed/x 2>&1",
    }
    lines = [f"{{ {words}; }} | sed 's/^/{word} /'" for word, words in asked.items()]
    forks = "for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 > /dev/null 2>&1 & done; echo all"
    return "\n".join([*lines, f"echo forks $( {{ {forks}; }} 2>&1 )", "exit 7"])


@pytest.fixture(scope="module")
def seen(
    host: Host, box: Box, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    volume = tmp_path_factory.mktemp("volume")
    (volume / "in").write_text("from outside\n")
    ended = box.run(
        *LIMITS,
        *("--cap-add", "MKNOD", "--device-cgroup-rule", f"c {':'.join(ALLOWED)} r"),
        *("-v", f"{volume}:/vol", "-v", f"{volume}:/fixed:ro", "--rootfs", str(root)),
        *("sh", "-c", script_of(host)),
    )
    assert box.left() == []
    assert ended.stderr == ""
    said: dict[str, list[str]] = {}
    for line in ended.stdout.splitlines():
        word, _, text = line.partition(" ")
        said.setdefault(word, []).append(text)
    yield Seen(said, ended.returncode, root, volume)


@pytest.mark.parametrize("controller", HELD)
def test_it_reads_its_own_limits(seen: Seen, host: Host, controller: str) -> None:
    assert seen.one(controller) == HELD[controller][host.need(controller).version][1]


def test_its_group_is_the_root_that_it_sees(seen: Seen, host: Host) -> None:
    found = rows(seen.one("group"))
    assert set(found) >= {hierarchy.key for hierarchy in host.managed}
    assert set(found.values()) == {"/"}


def test_it_runs_on_its_cpus(seen: Seen) -> None:
    assert seen.one("cpus") == "1"


def test_it_cannot_change_its_group(seen: Seen) -> None:
    assert "Read-only file system" in seen.one("mkdir")


def test_devices_are_denied_and_allowed(seen: Seen) -> None:
    assert "Operation not permitted" in seen.one("denied")
    assert "No such device" in seen.one("allowed")
    assert seen.one("null") == "written"


def test_forks_beyond_the_limit_are_refused(seen: Seen) -> None:
    assert "can't fork" in seen.one("forks")
    assert "all" not in seen.one("forks").split()


def test_what_it_writes_stays_in_it(seen: Seen) -> None:
    assert seen.one("made") == "text"
    assert [entry.name for entry in seen.root.iterdir()] == ["bin"]


def test_volumes_reach_outside(seen: Seen) -> None:
    assert seen.one("volume") == "from outside"
    assert (seen.volume / "out").read_text() == "out\n"
    assert "Read-only file system" in seen.one("fixed")
    assert sorted(entry.name for entry in seen.volume.iterdir()) == ["in", "out"]


def test_its_exit_status_is_the_commands(seen: Seen) -> None:
    assert seen.status == 7


def test_killed_at_its_limit_it_says_so(box: Box, root: Path) -> None:
    hog = ("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")

    ended = box.run("--memory", "32m", "--swap", "0", "--rootfs", str(root), *hog)

    assert ended.returncode == 137
    assert ended.stderr.startswith("killed: memory limit 32MiB (peak 3")
    assert ended.stderr.endswith(f"MiB) in {box.group}\n")
    assert box.left() == []


def test_a_signal_is_its_commands(box: Box, root: Path) -> None:
    script = "trap 'echo caught; exit 9' TERM; sleep 1000 & echo ready; wait"
    with box.started("--rootfs", str(root), "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.readline() == "caught\n"
        assert running.wait(60) == 9
    assert box.left() == []


def test_an_interrupt_ends_it(box: Box, root: Path) -> None:
    with box.started("-i", "--rootfs", str(root), "cat") as running:
        assert running.stdin is not None
        assert running.stdout is not None
        print("ready", file=running.stdin, flush=True)
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 128 + signal.SIGINT
    assert box.left() == []


#: the rows of `/proc/self/cgroup` on a v1 host that has every controller in a hierarchy
ROWS = (
    *("devices", "pids", "freezer", "perf_event", "blkio", "cpuset", "memory"),
    *("net_cls,net_prio", "cpu,cpuacct", "hugetlb", "rdma", "name=systemd"),
)


def rows(text: str) -> dict[str, str]:
    return dict(line.split(":", 2)[1:] for line in text.splitlines())


def test_its_path_is_in_every_row_without_a_namespace(
    box: Box, root: Path, manager: Manager
) -> None:
    """With one there is / in every row: test_its_group_is_the_root_that_it_sees."""
    ended = box.run("--cgroupns", "host", "--rootfs", str(root), "cat", "/proc/self/cgroup")

    found = rows(ended.stdout)
    leaf = "/payload" if box.driver == "systemd" else ""
    wanted = {h.key: f"{h.base.rstrip('/')}{box.group}{leaf}" for h in manager.host.managed}
    assert {key: found[key] for key in wanted} == wanted
    if os.environ.get("CGMGR_GUEST") == "legacy":
        assert set(ROWS) <= set(wanted)
        assert set(found.values()) == {f"{box.group}{leaf}"}
