"""Every controller against recorded hosts of every layout: held, read back, and taken back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from cgmgr.controllers import TABLE
from cgmgr.controllers.base import FilterRow, Row, Scene
from cgmgr.errors import ControllerUnavailable
from cgmgr.kernfs import Directory, join
from cgmgr.plan import Machine, Plan, Step, Target, Write
from cgmgr.resources import (
    Cpu,
    Cpuset,
    DeviceRule,
    HugetlbLimit,
    Io,
    IoDevice,
    Memory,
    NetPrio,
    Pids,
    RdmaLimit,
    Resources,
)
from cgmgr.units import MAX
from tests.fakefs import FakeHost, unpack
from tests.recording import HOSTS

DISK = "254:0"
UNLIMITED = "9223372036854771712"

REQUESTS = {
    "weight": Resources(cpu=Cpu(weight=300)),
    "quota": Resources(cpu=Cpu(quota_us=5000, period_us=10_000, burst_us=2000)),
    "period": Resources(cpu=Cpu(period_us=50_000)),
    "idle": Resources(cpu=Cpu(idle=True)),
    "realtime": Resources(cpu=Cpu(rt_runtime_us=1000, rt_period_us=500_000)),
    "cpus": Resources(cpuset=Cpuset(cpus=(1,), mems=(0,))),
    "partition": Resources(cpuset=Cpuset(cpus=(1,), partition="member")),
    "memory": Resources(memory=Memory(max_bytes=64 << 20, swap_bytes=16 << 20)),
    "no-swap": Resources(memory=Memory(max_bytes=100_000_000, swap_bytes=0)),
    "lifted": Resources(memory=Memory(max_bytes=MAX, swap_bytes=MAX)),
    "soft": Resources(memory=Memory(soft_limit_bytes=32 << 20)),
    "protected": Resources(memory=Memory(high_bytes=1 << 25, low_bytes=1 << 22, min_bytes=4096)),
    "together": Resources(memory=Memory(oom_group=True)),
    "swappiness": Resources(memory=Memory(swappiness=10)),
    "oom-off": Resources(memory=Memory(oom_kill_disable=True)),
    "rates": Resources(io=Io(devices=(IoDevice(device=DISK, rbps=1 << 20, wiops=50),))),
    "io-weight": Resources(io=Io(weight=200)),
    "pids": Resources(pids=Pids(max=50)),
    "huge": Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=5 << 20, rsvd_max_bytes=MAX),)),
    "handles": Resources(rdma=(RdmaLimit(device="rxe0", hca_handle=5),)),
    "classid": Resources(net_cls_classid=0x10_0001),
    "priority": Resources(net_prio=(NetPrio(interface="lo", priority=3),)),
    "devices": Resources(devices=(DeviceRule(kind="c", major=1, minor=3),)),
}
NUMBERS = itertools.count()
#: what a hierarchy version has not
V1_LACKS = {"protected", "together"}
V2_LACKS = {"realtime", "swappiness", "oom-off", "classid", "priority"}
#: one of these files
NEEDS = {
    "realtime": ("cpu.rt_runtime_us",),
    "io-weight": ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"),
}


class Stage:
    """One group of a recorded host, in the hierarchy that holds a controller."""

    def __init__(self, host: FakeHost, controller: str) -> None:
        self.host = host
        self.controller = TABLE[controller]
        self.hierarchy = host.need(controller)
        self.tree = host.tree(self.hierarchy)
        if self.hierarchy.version == 2 and not self.controller.IMPLICIT_ON_V2:
            with self.tree.open("/") as root:
                root.write("cgroup.subtree_control", f"+{controller}")
        self.group = f"/job-{next(NUMBERS)}"
        self.path = join(self.hierarchy.base, self.group)
        self.tree.mkdir(self.path)

    def lacks(self, name: str) -> bool:
        """Whether this kernel was built without it, or has not loaded the module."""
        files = NEEDS.get(name, ())
        with self.tree.open(self.path) as group:
            return bool(files) and not any(group.has(file) for file in files)

    def texts(self) -> dict[str, str | None]:
        with self.tree.open(self.path) as group:
            return self._texts(group)

    def _texts(self, group: Directory) -> dict[str, str | None]:
        wanted = self.controller.observe(self.hierarchy.version, self.host.facts)
        return {file: (group.try_read(file) or "").strip() for file in wanted if group.has(file)}

    def hold(self, request: Resources, *, new: bool) -> Callable[[], None]:
        files = self.texts()
        wanted = self.controller.observe(self.hierarchy.version, self.host.facts)
        with self.tree.open("/") as root:
            parent = self._texts(root)
        scene = Scene(
            version=self.hierarchy.version,
            new=new,
            files={} if new else {file: files.get(file) for file in wanted},
            parent={file: parent.get(file) for file in wanted},
            where=self.tree.absolute(self.path),
            facts=self.host.facts,
        )
        machine = Machine(self.host)
        rows = self.controller.rows(request, scene)
        return Plan(steps=tuple(self._step(row, scene) for row in rows)).execute(machine)

    def _step(self, row: Row, scene: Scene) -> Step:
        target = Target(group=self.group, key=self.hierarchy.key)
        return Write(target=target, row=row, previous=scene.files.get(row.file))


def wanted_by(request: Resources) -> str:
    (name,) = [name for name, controller in TABLE.items() if controller.wants(request)]
    return name


@pytest.fixture(scope="module", params=sorted(HOSTS.glob("*.tree")), ids=lambda tree: tree.stem)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FakeHost:
    tree: Path = request.param
    return unpack(tree, tmp_path_factory.mktemp(tree.stem))


def same(texts: dict[str, str | None]) -> dict[str, str | None]:
    """A new hugetlb group prints a number for no limit, and "max" after that was written."""
    return {file: "max" if text == UNLIMITED else text for file, text in texts.items()}


@pytest.mark.parametrize("new", [True, False], ids=["new", "seen"])
@pytest.mark.parametrize("name", REQUESTS)
def test_held_and_taken_back(host: FakeHost, name: str, new: bool) -> None:
    request = REQUESTS[name]
    controller = wanted_by(request)
    holder = host.holder(controller)
    if holder is None:
        with pytest.raises(ControllerUnavailable):
            host.need(controller)
        return
    stage = Stage(host, controller)
    if name in (V1_LACKS if holder.version == 1 else V2_LACKS) or stage.lacks(name):
        with pytest.raises(ControllerUnavailable):
            stage.hold(request, new=new)
        return
    if name == "devices" and holder.version == 2:
        (row,) = stage.controller.rows(request, Scene(version=2))
        assert isinstance(row, FilterRow)
        return
    before = stage.texts()
    undo = stage.hold(request, new=new)
    assert stage.texts() != before or name in ("partition", "lifted")
    if not new:
        undo()
        assert same(stage.texts()) == same(before)
