"""Which hierarchies a container mounts, by the host's mounts."""

from __future__ import annotations

import pytest

from cgmgr.host import Hierarchy, Host
from cgmgr.runtime.cgroups import HierarchyMount, hierarchies


def at(key: str, mountpoint: str, version: int = 1) -> Hierarchy:
    return Hierarchy(key=key, version=version, controllers=(), mountpoint=mountpoint)


TOP = "/sys/fs/cgroup"
CPU = HierarchyMount(
    name="cpu,cpuacct",
    fstype="cgroup",
    options=("cpu", "cpuacct"),
    links=("cpu", "cpuacct"),
)
SYSTEMD = HierarchyMount(name="systemd", fstype="cgroup", options=("name=systemd",))
MEMORY = HierarchyMount(name="memory", fstype="cgroup", options=("memory",))


@pytest.mark.parametrize(
    ("mounted", "expected"),
    [
        pytest.param([at("", TOP, 2)], [HierarchyMount(name="", fstype="cgroup2")], id="unified"),
        pytest.param(
            [at("cpu,cpuacct", f"{TOP}/cpu,cpuacct"), at("name=systemd", f"{TOP}/systemd")],
            [CPU, SYSTEMD],
            id="legacy",
        ),
        pytest.param(
            [at("memory", f"{TOP}/memory"), at("", f"{TOP}/unified", 2)],
            [MEMORY, HierarchyMount(name="unified", fstype="cgroup2")],
            id="hybrid",
        ),
        pytest.param(
            [at("net_cls", "/tmp/net_cls"), at("memory", f"{TOP}/memory")],
            [MEMORY],
            id="one-that-is-mounted-elsewhere",
        ),
        pytest.param(
            [at("", TOP, 2), at("net_cls", "/mnt/net_cls")],
            [HierarchyMount(name="", fstype="cgroup2")],
            id="unified-and-one-by-hand",
        ),
        pytest.param([at("", "/mnt/cgroup2", 2)], [], id="none-in-its-place"),
    ],
)
@pytest.mark.parametrize("root", ["/", "/recorded"])
def test_hierarchies(mounted: list[Hierarchy], expected: list[HierarchyMount], root: str) -> None:
    prefix = root.rstrip("/")
    host = Host(root, tuple(h.replace(mountpoint=prefix + h.mountpoint) for h in mounted))

    assert list(hierarchies(host)) == expected
