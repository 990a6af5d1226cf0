"""Seen to bite, controller by controller, where it takes more than a program: a disk, a queue of a
network interface, an rdma device, pages in reserve, two groups that want the same.

Nothing is measured by the clock: what one group got is compared with what another got meanwhile.
What a machine has not is skipped with the reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.spawn import DEVNULL

from .conftest import Proves
from .test_groups import DISK, RDMA

PYTHON = (sys.executable, "-I", "-S", "-c")
BURN = ("sh", "-c", "while :; do :; done")
HUGE_BYTES = 2 << 20


@pytest.fixture
def another(manager: Manager, run_token: str) -> Iterator[Group]:
    with manager.create(f"{run_token}-another-{os.urandom(3).hex()}") as made:
        yield made


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


def held(host: Host, controller: str, version: int | None = None) -> None:
    """Skip where no hierarchy (of that version) holds the controller."""
    holder = host.holder(controller)
    if holder is None or version not in (None, holder.version):
        pytest.skip(f"no hierarchy {'of v1 ' if version == 1 else ''}holds {controller}")


# -- cpu


def used_usec(group: Group) -> int:
    cpu = group.stats().cpu
    assert cpu is not None
    assert cpu.usage_usec is not None
    return cpu.usage_usec


def shares(one: Group, other: Group) -> tuple[int, int]:
    """What each gets of the next one and a half seconds of CPU time that both get."""
    before = used_usec(one), used_usec(other)
    found = [(0, 0)]

    def enough() -> bool:
        found[0] = (used_usec(one) - before[0], used_usec(other) - before[1])
        return sum(found[0]) > 1_500_000

    until(enough)
    return found[0]


def test_weights_divide_a_cpu(group: Group, another: Group, host: Host, proves: Proves) -> None:
    if host.holder("cpuset") is None:
        pytest.skip("no cpuset, by which both are on one CPU")
    group.update(cpuset="0", mems="0", cpu_weight=1000)
    another.update(cpuset="0", mems="0", cpu_weight=100)
    with group.popen(BURN), another.popen(BURN):
        first = shares(group, another)
        group.update(cpu_weight=100)
        another.update(cpu_weight=1000)
        then = shares(group, another)
        group.kill()
        another.kill()
    assert first[0] > 2 * first[1]
    assert then[1] > 2 * then[0]
    proves("cpu weight", "bites")


# -- io


def reads(group: Group) -> int:
    io = group.stats().io
    number = DISK.stat().st_rdev
    disk = f"{os.major(number)}:{os.minor(number)}"
    return sum(device.rios or 0 for device in (io.devices if io else ()) if device.device == disk)


COUNTED = f"{DISK}=1000000"
"""Linux 5.17 to 6.3 count on v1 only what has a rule."""


def reading(count: int) -> tuple[str, ...]:
    return ("dd", f"if={DISK}", "of=/dev/null", "iflag=direct", "bs=4k", f"count={count}")


def test_a_rate_slows_a_disk(group: Group, another: Group, proves: Proves) -> None:
    if not DISK.exists():
        pytest.skip(f"no {DISK}")
    group.update(io_riops=f"{DISK}=10")
    another.update(io_riops=COUNTED)
    with group.popen(reading(2000), stderr=DEVNULL) as slow:
        until(lambda: reads(group) > 0)
        assert another.run(reading(500), stderr=DEVNULL).exit == 0
        assert reads(another) >= 500
        assert reads(group) < 250
        group.update(io_riops=COUNTED)
        assert slow.wait() == 0
    assert reads(group) >= 2000
    proves("io rates", "bites")


# -- huge pages

TOUCH = """
import mmap, sys
shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x40000  # MAP_HUGETLB
try:
    pages = mmap.mmap(-1, int(sys.argv[1]), flags=shared)
except OSError as error:
    sys.exit(error.errno)
for at in range(0, len(pages), 2 << 20):
    pages[at] = 1
"""


def touch(group: Group, pages: int) -> tuple[int | None, int | None]:
    """Exit status and signal of a program that maps and uses so many huge pages."""
    done = group.run([*PYTHON, TOUCH, str(pages * HUGE_BYTES)], stderr=DEVNULL)
    return done.exit, done.signal


def test_huge_pages_beyond_the_limit_are_refused(group: Group, host: Host, proves: Proves) -> None:
    held(host, "hugetlb")
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    if not free.exists() or int(free.read_text()) < 4:
        pytest.skip("no huge pages in reserve")
    group.update(hugetlb="2MB=4M")
    assert touch(group, 2) == (0, None)
    assert touch(group, 3) == (errno.ENOMEM, None), "refused when they are reserved"
    group.update(hugetlb_rsvd="2MB=max")
    assert touch(group, 3) == (None, signal.SIGBUS), "refused when they are touched"
    group.update(hugetlb="2MB=8M")
    assert touch(group, 3) == (0, None)
    proves("hugetlb", "bites")


# -- rdma

HANDLES = """
import ctypes, os, struct, sys
response = ctypes.create_string_buffer(8)
# struct ib_uverbs_cmd_hdr and ib_uverbs_get_context (rdma/ib_user_verbs.h)
command = struct.pack("=IHHQ", 0, 4, 2, ctypes.addressof(response))
opened = [os.open("/dev/infiniband/uverbs0", os.O_RDWR) for _ in range(4)]
got = 0
for fd in opened:
    try:
        os.write(fd, command)
    except OSError:
        break
    got += 1
print(got)
"""


def handles(group: Group) -> bytes | None:
    """How many handles of the device one program gets, of four."""
    return group.run([*PYTHON, HANDLES], capture=True).checked().stdout


def test_rdma_handles_beyond_the_limit_are_refused(
    group: Group, host: Host, proves: Proves
) -> None:
    held(host, "rdma")
    if not RDMA.exists():
        pytest.skip("no rdma device")
    assert handles(group) == b"4\n"
    group.update(rdma="rxe0=hca_handle:2")
    assert handles(group) == b"2\n"
    group.update(rdma="rxe0=hca_handle:3")
    assert handles(group) == b"3\n"
    proves("rdma", "bites")


# -- network

CLASSES = """
set -e
ip link set lo up
tc qdisc add dev lo root handle 1: htb
for class in 1:7 1:8; do tc class add dev lo parent 1: classid $class htb rate 1gbit; done
tc filter add dev lo parent 1: handle 1: cgroup
echo > /dev/udp/127.0.0.1/9
tc -s class show dev lo
"""


def packets(shown: str) -> dict[str, int]:
    """How many packets each class of `tc -s class show` has sent."""
    found = re.findall(r"^class \S+ (\S+) .*\n Sent \d+ bytes (\d+) pkt", shown, re.MULTILINE)
    return {name: int(count) for name, count in found}


def classed(group: Group) -> dict[str, int]:
    """The packets of a program of the group by class, in a network namespace of its own."""
    argv = ["unshare", "--net", "bash", "-c", CLASSES]
    done = group.run(argv, capture=True)
    assert done.exit == 0, done.stderr
    return packets((done.stdout or b"").decode())


def test_a_packet_is_counted_in_the_class_of_the_group(
    group: Group, host: Host, proves: Proves
) -> None:
    held(host, "net_cls", 1)
    group.update(net_classid="1:7")
    assert classed(group) == {"1:7": 1, "1:8": 0}
    group.update(net_classid="1:8")
    assert classed(group) == {"1:7": 0, "1:8": 1}
    proves("net_cls", "bites")


@pytest.fixture
def interface(host: Host) -> Iterator[str]:
    """One that goes nowhere, with a queue of three bands by priority (tc-prio(8))."""
    held(host, "net_prio", 1)
    name = "cgmgr-prio"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("link", "add", name, "type", "dummy")
    try:
        ip("link", "set", name, "up")
        ip("address", "add", "198.51.100.1/24", "dev", name)
        subprocess.run(
            ["tc", "qdisc", "add", "dev", name, "root", "handle", "1:", "prio"], check=True
        )
        yield name
    finally:
        ip("link", "delete", name)


BROADCAST = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for _ in range(20):
        sender.sendto(b"x", ("198.51.100.255", 9))
"""


def banded(group: Group, interface: str) -> dict[str, int]:
    """By band, the packets that a program of the group sends, and what else came meanwhile."""

    def count() -> dict[str, int]:
        words = ["tc", "-s", "class", "show", "dev", interface]
        return packets(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    before = count()
    assert group.run([*PYTHON, BROADCAST]).exit == 0
    return {name: sent - before[name] for name, sent in count().items()}


def test_a_packet_has_the_priority_of_the_group(
    interface: str, driver: str, manager: Manager, run_token: str, proves: Proves
) -> None:
    fresh = Manager(Host.detect(), driver=driver, rundir=manager.rundir)  # knows the interface
    with fresh.create(f"{run_token}-prio", net_prio=f"{interface}=6") as group:
        # priority 6 is in the first band, 2 in the last, and 0, everybody's, in the one between
        assert banded(group, interface)["1:1"] >= 20
        group.update(net_prio=f"{interface}=2")
        found = banded(group, interface)
        assert found["1:3"] >= 20
        assert found["1:1"] < 20
    proves("net_prio", "bites")


# -- perf_event


def clock_of(place: int, cpu: int) -> int:
    """A counter of the time that a group's tasks run on a CPU (perf_event_open(2)); `place` is the
    group's open directory."""
    # PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE_VER0, PERF_COUNT_SW_CPU_CLOCK
    attributes = struct.pack("=IIQ", 1, 64, 0).ljust(64, b"\0")
    close_on_exec, pid_is_cgroup = 1 << 3, 1 << 2
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
    fd: int = libc.syscall(number, attributes, place, cpu, -1, close_on_exec | pid_is_cgroup)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return fd


class Clock:
    """The CPU time of a group as perf counts it."""

    def __init__(self, group: Group, cpus: tuple[int, ...]) -> None:
        place = group.perf_fd()
        try:
            self._fds = [clock_of(place, cpu) for cpu in cpus]
        finally:
            os.close(place)

    def nsec(self) -> int:
        return sum(struct.unpack("=Q", os.read(fd, 8))[0] for fd in self._fds)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


def test_perf_counts_the_group_alone(
    group: Group, another: Group, host: Host, proves: Proves
) -> None:
    held(host, "perf_event")
    with (
        contextlib.closing(Clock(group, host.facts.cpus)) as clock,
        contextlib.closing(Clock(another, host.facts.cpus)) as idle,
        group.popen(BURN),
    ):
        until(lambda: clock.nsec() > 50_000_000)
        assert idle.nsec() == 0
        group.kill()
    proves("perf_event", "bites")
