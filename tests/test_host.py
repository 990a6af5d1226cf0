"""Hosts of every kind, from what they print; recorded hosts are in test_hosts.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr.errors import ControllerUnavailable, HostError
from cgmgr.host import Host


def mount(where: str, kind: str, options: str, root: str = "/", flags: str = "rw") -> str:
    return f"31 23 0:28 {root} {where} {flags},relatime shared:9 - {kind} {kind} rw,{options}"


def host(
    root: Path, mounts: list[str], cgroup: str, v2: tuple[str, str] | None = None, table: str = ""
) -> Host:
    """A host of these mounts; `v2` is where cgroup2 is and what its cgroup.controllers say."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/cgroups").write_text(table)
    for line in mounts:
        (root / line.split(" ")[4].lstrip("/")).mkdir(parents=True, exist_ok=True)
        (root / line.split(" ")[4].lstrip("/") / "cgroup.procs").touch()
    if v2 is not None:
        (root / v2[0].lstrip("/") / "cgroup.controllers").write_text(v2[1])
    return Host.detect(str(root))


TMPFS = "30 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"


def test_unified(tmp_path: Path) -> None:
    seen = host(
        tmp_path,
        [mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")],
        "0::/user.slice/session-1.scope\n",
        ("/sys/fs/cgroup", "cpuset cpu io memory hugetlb pids rdma misc\n"),
    )

    assert seen.mode == "unified"
    assert seen.v2 is not None
    assert seen.v2.own == "/user.slice/session-1.scope"
    assert seen.need("memory").key == ""
    for implicit in ("freezer", "devices", "perf_event"):
        assert seen.need(implicit).version == 2
    with pytest.raises(ControllerUnavailable, match="cgroup v2 has none"):
        seen.need("net_cls")


def test_one_stray_v1_mount_leaves_a_unified_host_unified(tmp_path: Path) -> None:
    seen = host(
        tmp_path,
        [
            mount("/sys/fs/cgroup", "cgroup2", "nsdelegate"),
            mount("/mnt/net_cls", "cgroup", "net_cls"),
        ],
        "5:net_cls:/\n0::/\n",
        ("/sys/fs/cgroup", "cpu memory\n"),
    )

    assert seen.mode == "unified"
    assert seen.need("net_cls").key == "net_cls"


def test_legacy(tmp_path: Path) -> None:
    seen = host(
        tmp_path,
        [TMPFS, mount("/sys/fs/cgroup/memory", "cgroup", "memory")],
        "4:memory:/a\n",
        table="#subsys_name\thierarchy\nmemory\t4\t10\t1\nrdma\t0\t1\t1\nblkio\t0\t1\t1\n",
    )

    assert seen.mode == "legacy"
    assert seen.v2 is None
    assert seen.compiled == ("memory", "rdma", "io")
    with pytest.raises(ControllerUnavailable, match="no mounted hierarchy holds it") as caught:
        seen.need("io")
    assert caught.value.hint == (
        "mkdir -p /sys/fs/cgroup/blkio && mount -t cgroup -o blkio none /sys/fs/cgroup/blkio"
    )
    with pytest.raises(ControllerUnavailable, match="built without it") as caught:
        seen.need("misc")
    assert caught.value.hint is None


def test_hybrid_with_controllers_on_both_sides(tmp_path: Path) -> None:
    seen = host(
        tmp_path,
        [
            TMPFS,
            mount("/sys/fs/cgroup/memory", "cgroup", "memory"),
            mount("/sys/fs/cgroup/freezer", "cgroup", "freezer"),
            mount("/sys/fs/cgroup/unified", "cgroup2", ""),
        ],
        "4:memory:/\n3:freezer:/\n0::/\n",
        ("/sys/fs/cgroup/unified", "hugetlb pids\n"),
    )

    assert seen.mode == "hybrid"
    assert [h.key for h in seen.hierarchies] == ["memory", "freezer", ""]
    assert seen.need("hugetlb").version == 2
    assert seen.need("freezer").version == 1, "a mounted v1 hierarchy owns its controller"
    assert seen.need("devices").version == 2


@pytest.mark.parametrize(
    ("options", "line", "key", "controllers"),
    [
        pytest.param(
            "cpu,cpuacct", "4:cpu,cpuacct:/", "cpu,cpuacct", ("cpu", "cpuacct"), id="debian"
        ),
        pytest.param(
            "cpu,cpuacct", "4:cpuacct,cpu:/", "cpuacct,cpu", ("cpuacct", "cpu"), id="rhel7"
        ),
        pytest.param("blkio", "4:blkio:/", "blkio", ("io",), id="blkio-is-io"),
        pytest.param(
            "xattr,name=systemd", "1:name=systemd:/", "name=systemd", ("name=systemd",), id="named"
        ),
        pytest.param("cpuset,noprefix", "4:cpuset:/", "cpuset", ("cpuset",), id="noprefix"),
        pytest.param(
            "net_cgroup", "3:net_cgroup:/", "net_cgroup", ("net_cgroup",), id="of-unknown-purpose"
        ),
        pytest.param(
            "memory,release_agent=/x", "4:memory:/", "memory", ("memory",), id="release-agent"
        ),
    ],
)
def test_what_a_v1_mount_holds(
    tmp_path: Path, options: str, line: str, key: str, controllers: tuple[str, ...]
) -> None:
    seen = host(tmp_path, [TMPFS, mount("/sys/fs/cgroup/x", "cgroup", options)], line + "\n")

    (hierarchy,) = seen.hierarchies
    assert hierarchy.key == key
    assert hierarchy.controllers == controllers


def test_an_unknown_controller_is_reported_and_left_alone(tmp_path: Path) -> None:
    seen = host(
        tmp_path,
        [
            mount("/sys/fs/cgroup/x", "cgroup", "net_cgroup"),
            mount("/sys/fs/cgroup/pids", "cgroup", "pids"),
        ],
        "3:net_cgroup:/\n2:pids:/\n",
    )

    assert seen.unknown_controllers == ("net_cgroup",)
    assert [h.key for h in seen.managed] == ["pids"]


@pytest.mark.parametrize(
    ("root", "path", "own"),
    [
        pytest.param("/", "/a/b", "/a/b", id="host"),
        pytest.param("/docker/1f", "/docker/1f", "/", id="container-without-a-namespace"),
        pytest.param("/docker/1f", "/docker/1f/x", "/x", id="below-the-mounted-part"),
        pytest.param("/docker/1f", "/docker/1ff", None, id="only-the-same-prefix"),
        pytest.param("/", "/../../a", None, id="outside-the-namespace"),
        pytest.param("/", "/a:b", "/a:b", id="colon"),
        pytest.param("/", "/a (deleted)", "/a", id="deleted"),
    ],
)
def test_own_group(tmp_path: Path, root: str, path: str, own: str | None) -> None:
    seen = host(
        tmp_path,
        [TMPFS, mount("/sys/fs/cgroup/pids", "cgroup", "pids", root=root)],
        f"4:pids:{path}\n",
    )

    assert seen.need("pids").own == own


def test_of_several_mounts_the_usual_place_counts(tmp_path: Path) -> None:
    seen = host(
        tmp_path,
        [
            mount("/var/lib/lxcfs/pids", "cgroup", "pids"),
            mount("/sys/fs/cgroup/pids", "cgroup", "pids"),
            mount("/other/pids", "cgroup", "pids"),
        ],
        "4:pids:/\n",
    )

    assert seen.need("pids").mountpoint == str(tmp_path / "sys/fs/cgroup/pids")


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    line = mount("/sys/fs/cgroup/pids", "cgroup", "pids").replace("/pids", "/p\\040s")
    seen = host(tmp_path, [line], "4:pids:/\n")

    assert seen.need("pids").mountpoint.endswith("/p s")


def test_a_read_only_mount_is_seen(tmp_path: Path) -> None:
    line = mount("/sys/fs/cgroup/pids", "cgroup", "pids", flags="ro")
    seen = host(tmp_path, [line], "4:pids:/\n")

    assert seen.need("pids").read_only


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no cgroup file system is mounted"):
        host(tmp_path, [TMPFS], "")


def test_facts(tmp_path: Path) -> None:
    files = {
        "sys/devices/system/cpu/online": "0-11,14\n",
        "sys/devices/system/node/online": "0-1\n",
        "sys/block/sda/dev": "8:0\n",
        "sys/block/sda/queue/scheduler": "none [mq-deadline] bfq\n",
        "sys/block/sda/sda2/dev": "8:2\n",
        "sys/block/sda/sda2/partition": "2\n",
        "sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages": "0\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
        "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = host(tmp_path, [mount("/sys/fs/cgroup/pids", "cgroup", "pids")], "4:pids:/\n").facts

    assert seen.cpus == (*range(12), 14)
    assert seen.nodes == (0, 1)
    assert seen.hugepage_sizes == ("64KB", "2MB", "1GB")
    disk, part = seen.block_devices
    assert (disk.number, disk.name, disk.scheduler, disk.part_of) == (
        "8:0",
        "sda",
        "mq-deadline",
        None,
    )
    assert (part.number, part.name, part.part_of) == ("8:2", "sda2", "8:0")


def test_trees_are_opened_once(tmp_path: Path) -> None:
    seen = host(tmp_path, [mount("/sys/fs/cgroup/pids", "cgroup", "pids")], "4:pids:/\n")

    assert seen.tree(seen.need("pids")) is seen.tree(seen.by_key("pids"))
    with pytest.raises(HostError, match="hierarchy memory is not mounted"):
        seen.by_key("memory")


@pytest.mark.parametrize(
    ("writable", "base"),
    [
        pytest.param(["", "/a"], "/", id="both"),
        pytest.param(["/a"], "/a", id="our own group, delegated to us"),
        pytest.param([], "/", id="nothing: root's groups are seen, none is made"),
    ],
)
def test_where_the_names_of_groups_start(tmp_path: Path, writable: list[str], base: str) -> None:
    host(tmp_path, [mount("/sys/fs/cgroup", "cgroup2", "")], "0::/a\n", ("/sys/fs/cgroup", "pids"))
    top = tmp_path / "sys/fs/cgroup"
    (top / "cgroup.procs").unlink()  # which root, too, finds not to be writable
    (top / "a").mkdir()
    for place in writable:
        Path(f"{top}{place}/cgroup.procs").touch()

    [seen] = Host.detect(str(tmp_path)).hierarchies

    assert seen.base == base
