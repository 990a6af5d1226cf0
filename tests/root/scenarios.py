"""What is done to cgroups in the comparison of the imitation with this kernel.

Law: tables of operations, without what should come of them: that is for the kernel to say.  (Longer
than a module of code may be: there is nothing to follow, only to add.)

An operation is a verb with its arguments: mkdir PATH, rmdir PATH, write PATH FILE VALUE, read PATH
FILE, join PATH [FILE] (a process of the test moves there).  Paths are below a group of the test's.
The words DISK and PART stand for the numbers of a disk and of a partition.
"""

from __future__ import annotations

from pathlib import Path

Operation = tuple[str, ...]
#: the controller whose hierarchy it is done in ("" for cgroup2), and what is done
Scenario = tuple[str, list[Operation]]


def writes(path: str, file: str, *values: str) -> list[Operation]:
    """Each value written to the file and read back."""
    return [
        step for value in values for step in (("write", path, file, value), ("read", path, file))
    ]


HUGETLB = ("1M", "2M", "5M", "0", "x", "-2", "1G")

CORE: dict[str, list[Operation]] = {
    "names": [
        ("mkdir", "/a"),
        ("mkdir", "/a"),
        ("mkdir", "/b/c"),
        ("mkdir", "/a/c"),
        ("rmdir", "/a"),
        ("rmdir", "/a/c"),
        ("rmdir", "/a"),
        ("rmdir", "/a"),
    ],
    "processes": [
        ("mkdir", "/a"),
        *writes("/a", "cgroup.procs", "x", "-1", "", "4194303"),
        ("join", "/a"),
        ("read", "/a", "cgroup.procs"),
        ("rmdir", "/a"),
        ("join", "/"),
        ("read", "/a", "cgroup.procs"),
        ("read", "/", "cgroup.procs"),
        ("rmdir", "/a"),
    ],
    "files that are not there": [
        ("write", "/", "no.such", "1"),
        ("read", "/", "no.such"),
        ("write", "/a", "cgroup.procs", "0"),
    ],
}

V1: dict[str, Scenario] = {
    "tasks": ("pids", [("mkdir", "/a"), ("join", "/a", "tasks"), ("read", "/a", "cgroup.procs")]),
    "read-only": ("cpu", [("write", "/", "cpu.stat", "0")]),
    "write-only": ("devices", [("read", "/", "devices.allow")]),
    "flags": (
        "pids",
        [
            *writes("/", "notify_on_release", "1", "2", "x"),
            *writes("/", "cgroup.clone_children", "1", "0", "x"),
        ],
    ),
    "shares": (
        "cpu",
        writes("/", "cpu.shares", "512", "1", "0", "300000", "x", "-1", "010", "0x20"),
    ),
    "idle": (
        "cpu",
        [
            *writes("/", "cpu.idle", "1", "2", "-1", "x"),
            *writes("/", "cpu.shares", "512"),
            ("write", "/", "cpu.idle", "0"),
            ("read", "/", "cpu.shares"),
        ],
    ),
    "quota": (
        "cpu",
        [
            *writes("/", "cpu.cfs_quota_us", "500", "0", "50000", "-1", "-2", "x", "100000000000"),
            *writes("/", "cpu.cfs_period_us", "500", "2000000", "0", "-1", "1000", "250000"),
            *writes("/", "cpu.cfs_quota_us", "1000"),
            *writes("/", "cpu.cfs_burst_us", "1001", "1000", "0"),
        ],
    ),
    "quota of a child": (
        "cpu",
        [
            ("write", "/", "cpu.cfs_quota_us", "50000"),
            ("mkdir", "/a"),
            ("mkdir", "/a/b"),
            *writes("/a/b", "cpu.cfs_quota_us", "60000", "50000", "50001"),
            *writes("/a", "cpu.cfs_quota_us", "40000", "50000"),
            *writes("/a/b", "cpu.cfs_period_us", "50000", "100000"),
            *writes("/", "cpu.cfs_period_us", "200000", "50000"),
            *writes("/", "cpu.cfs_quota_us", "20000", "-1"),
        ],
    ),
    "realtime": (
        "cpu",
        [
            ("mkdir", "/a"),
            *writes("/a", "cpu.rt_runtime_us", "10000", "0"),
            *writes("/", "cpu.rt_runtime_us", "100000", "-5", "2000000", "x"),
            *writes("/a", "cpu.rt_runtime_us", "100001", "50000"),
            *writes("/", "cpu.rt_runtime_us", "40000", "50000"),
            *writes("/a", "cpu.rt_period_us", "0", "500000", "2000000"),
        ],
    ),
    "counted time": (
        "cpuacct",
        [("write", "/", "cpuacct.usage", "1"), *writes("/", "cpuacct.usage", "0")],
    ),
    "cpuset": (
        "cpuset",
        [
            ("join", "/"),
            *writes("/", "cpuset.cpus", "0", "x", "0-", "5000", "999999", "1-0", ""),
            ("join", "/"),
            *writes("/", "cpuset.cpus", "0"),
            *writes("/", "cpuset.mems", "0", "1", "7000"),
            ("read", "/", "cpuset.effective_cpus"),
            ("join", "/"),
            *writes("/", "cpuset.cpus", "", "\n"),
        ],
    ),
    "cpuset of a child": (
        "cpuset",
        [
            ("write", "/", "cpuset.cpus", "0"),
            ("write", "/", "cpuset.mems", "0"),
            ("mkdir", "/a"),
            ("read", "/a", "cpuset.cpus"),
            *writes("/a", "cpuset.cpus", "0-1", "1", "0"),
            ("read", "/a", "cpuset.effective_cpus"),
            *writes("/", "cpuset.cpus", "1", "0-1"),
            ("write", "/", "cgroup.clone_children", "1"),
            ("mkdir", "/b"),
            ("read", "/b", "cpuset.cpus"),
            ("read", "/b", "cpuset.mems"),
            ("join", "/b"),
        ],
    ),
    "memory": (
        "memory",
        [
            *writes(
                "/", "memory.limit_in_bytes", "1M", "5000000", "x", "-2", "-1", "1G", "0x200000"
            ),
            *writes("/", "memory.memsw.limit_in_bytes", "1M", "8M", "3000000", "-1"),
            *writes("/", "memory.limit_in_bytes", "16M", "99999999999999999999"),
            *writes("/", "memory.soft_limit_in_bytes", "5000", "-1", "1k"),
            *writes("/", "memory.failcnt", "0", "7"),
            *writes("/", "memory.max_usage_in_bytes", "0"),
        ],
    ),
    "memory and swap": (
        "memory",
        [
            ("write", "/", "memory.limit_in_bytes", "8M"),
            ("write", "/", "memory.memsw.limit_in_bytes", "16M"),
            ("write", "/", "memory.limit_in_bytes", "32M"),
            ("write", "/", "memory.memsw.limit_in_bytes", "4M"),
            ("read", "/", "memory.limit_in_bytes"),
            ("read", "/", "memory.memsw.limit_in_bytes"),
        ],
    ),
    "memory flags": (
        "memory",
        [
            *writes("/", "memory.swappiness", "10", "100", "200", "201", "-1", "x"),
            *writes("/", "memory.use_hierarchy", "1", "0"),
            *writes("/", "memory.oom_control", "1", "2", "x"),
            ("mkdir", "/a"),
            ("read", "/a", "memory.oom_control"),
            ("read", "/a", "memory.swappiness"),
            ("write", "/a", "memory.force_empty", "0"),
        ],
    ),
    "freezer": (
        "freezer",
        [
            ("mkdir", "/a"),
            ("join", "/a"),
            *writes("/", "freezer.state", "FREEZING", "frozen", "FROZEN"),
            *(
                ("read", "/a", f"freezer.{f}")
                for f in ("state", "self_freezing", "parent_freezing")
            ),
            *writes("/a", "freezer.state", "FROZEN"),
            *writes("/", "freezer.state", "THAWED"),
            *(
                ("read", "/a", f"freezer.{f}")
                for f in ("state", "self_freezing", "parent_freezing")
            ),
            *writes("/a", "freezer.state", "THAWED"),
        ],
    ),
    "made in a frozen group": (
        "freezer",
        [
            ("write", "/", "freezer.state", "FROZEN"),
            ("mkdir", "/a"),
            *(
                ("read", "/a", f"freezer.{f}")
                for f in ("state", "self_freezing", "parent_freezing")
            ),
        ],
    ),
    "throttle": (
        "io",
        [
            *writes("/", "blkio.throttle.read_bps_device", "DISK 1048576", "DISK x", "DISK 0"),
            *writes(
                "/", "blkio.throttle.write_iops_device", "DISK 100", "999:0 1", "DISK", "x", ""
            ),
            *writes("/", "blkio.throttle.write_iops_device", "DISK 4294967297", "DISK 200"),
        ],
    ),
    "bfq weight": ("io", writes("/", "blkio.bfq.weight", "500", "0", "1001", "x", "1", "1000")),
    "hugetlb": ("hugetlb", writes("/", "hugetlb.2MB.limit_in_bytes", *HUGETLB, "-1")),
    "hugetlb reservations": (
        "hugetlb",
        writes("/", "hugetlb.2MB.rsvd.limit_in_bytes", *HUGETLB, "-1"),
    ),
    "net_cls": (
        "net_cls",
        [
            *writes("/", "net_cls.classid", "0x100001", "1048577", "-1", "x"),
            ("mkdir", "/a"),
            ("read", "/a", "net_cls.classid"),
        ],
    ),
    "net_prio": (
        "net_prio",
        [
            *writes("/", "net_prio.ifpriomap", "lo 5", "nosuch0 1", "lo", "lo x", ""),
            ("mkdir", "/a"),
            ("read", "/a", "net_prio.ifpriomap"),
        ],
    ),
}

EITHER: dict[str, Scenario] = {
    "pids": (
        "pids",
        [
            *writes("/", "pids.max", "5", "0", "-1", "max", "x", "4194304", "4194305"),
            ("mkdir", "/a"),
            ("join", "/a"),
            ("read", "/a", "pids.current"),
            ("read", "/", "pids.current"),
            ("join", "/"),
            ("read", "/a", "pids.current"),
        ],
    ),
    "misc": ("misc", writes("/", "misc.max", "sev 1", "x")),
    "rdma": (
        "rdma",
        [
            *writes("/", "rdma.max", "rxe0 hca_handle=2", "rxe0 hca_object=5 hca_handle=max"),
            *writes(
                "/", "rdma.max", "rxe1 hca_handle=2", "rxe0", "rxe0 other=1", "rxe0 hca_handle=x"
            ),
        ],
    ),
}

V2: dict[str, Scenario] = {
    "read-only": ("", [("write", "/", "cgroup.events", "0")]),
    "write-only": ("", [("read", "/", "cgroup.kill")]),
    "limits of the tree": (
        "",
        [
            *writes("/", "cgroup.max.descendants", "1", "-1", "x"),
            ("mkdir", "/a"),
            ("mkdir", "/b"),
            ("mkdir", "/a/b"),
            *writes("/", "cgroup.max.descendants", "max"),
            *writes("/", "cgroup.max.depth", "1"),
            ("mkdir", "/a/b"),
            ("mkdir", "/b"),
        ],
    ),
    "populated": (
        "",
        [
            ("mkdir", "/a"),
            ("mkdir", "/a/b"),
            ("join", "/a/b"),
            *(("read", p, "cgroup.events") for p in ("/", "/a", "/a/b")),
            ("join", "/a"),
            *(("read", p, "cgroup.events") for p in ("/", "/a", "/a/b")),
            ("join", "/"),
            *(("read", p, "cgroup.events") for p in ("/", "/a", "/a/b")),
        ],
    ),
    "freeze": (
        "",
        [
            ("mkdir", "/a"),
            ("join", "/a"),
            *writes("/", "cgroup.freeze", "2", "x", "-1", "1"),
            *(("read", p, "cgroup.events") for p in ("/", "/a")),
            ("read", "/a", "cgroup.freeze"),
            ("mkdir", "/a/b"),
            ("read", "/a/b", "cgroup.events"),
            ("write", "/a", "cgroup.freeze", "1"),
            ("write", "/", "cgroup.freeze", "0"),
            *(("read", p, "cgroup.events") for p in ("/", "/a", "/a/b")),
            ("write", "/a", "cgroup.freeze", "0"),
            *(("read", p, "cgroup.events") for p in ("/", "/a", "/a/b")),
        ],
    ),
    "unknown controllers": (
        "",
        [
            *writes("/", "cgroup.subtree_control", "+nosuch", "hugetlb", "+cpuacct", "+blkio", ""),
            *writes("/", "cgroup.subtree_control", "+net_cls", "+freezer", "+devices", "+memory"),
        ],
    ),
    "threaded": (
        "",
        [
            ("mkdir", "/a"),
            ("mkdir", "/a/b"),
            ("mkdir", "/a/c"),
            *writes("/a/b", "cgroup.type", "domain", "x", "threaded", "threaded"),
            *(("read", p, "cgroup.type") for p in ("/a", "/a/c")),
            ("join", "/a/c"),
            ("join", "/a/b"),
            ("read", "/a/b", "cgroup.procs"),
            ("read", "/a/b", "cgroup.threads"),
            ("read", "/a", "cgroup.procs"),
            ("write", "/a/b", "cgroup.kill", "1"),
            ("write", "/a/c", "cgroup.type", "threaded"),
            ("join", "/a/c", "cgroup.threads"),
            ("read", "/a/c", "cgroup.threads"),
            ("mkdir", "/a/c/d"),
            ("read", "/a/c/d", "cgroup.type"),
            ("join", "/a"),
            ("join", "/"),
            ("join", "/a/b", "cgroup.threads"),
        ],
    ),
    "threaded is refused": (
        "",
        [
            ("mkdir", "/a"),
            ("join", "/a"),
            ("write", "/a", "cgroup.type", "threaded"),
            ("join", "/"),
            ("mkdir", "/a/b"),
            ("write", "/a/b", "cgroup.type", "threaded"),
        ],
    ),
    "kill": (
        "",
        [
            ("mkdir", "/a"),
            ("mkdir", "/a/b"),
            ("join", "/a/b"),
            *(("write", "/a", "cgroup.kill", value) for value in ("0", "2", "x", "1")),
            ("read", "/a", "cgroup.events"),
            ("rmdir", "/a/b"),
        ],
    ),
    "no processes in inner groups": (
        "hugetlb",
        [
            ("read", "/", "cgroup.controllers"),
            ("mkdir", "/a"),
            ("join", "/"),
            *writes("/", "cgroup.subtree_control", "+hugetlb"),
            ("join", "/a"),
            *writes("/", "cgroup.subtree_control", "+hugetlb", "+hugetlb", "+hugetlb -hugetlb"),
            *writes("/", "cgroup.subtree_control", "-hugetlb", "+hugetlb"),
            ("join", "/"),
            ("read", "/a", "cgroup.controllers"),
            ("read", "/a", "hugetlb.2MB.max"),
            ("mkdir", "/a/b"),
            ("read", "/a/b", "hugetlb.2MB.max"),
            ("write", "/a", "cgroup.subtree_control", "+hugetlb"),
            ("mkdir", "/c"),
            ("join", "/c"),
            ("write", "/a", "cgroup.subtree_control", "+hugetlb"),
            ("read", "/a/b", "hugetlb.2MB.max"),
            ("write", "/", "cgroup.subtree_control", "-hugetlb"),
            ("write", "/a/b", "cgroup.subtree_control", "+memory"),
            ("write", "/a", "cgroup.subtree_control", "-hugetlb"),
            ("write", "/", "cgroup.subtree_control", "-hugetlb"),
            ("read", "/a", "hugetlb.2MB.max"),
            ("write", "/a/b", "cgroup.subtree_control", "+hugetlb"),
        ],
    ),
    "domain controllers in a threaded tree": (
        "hugetlb",
        [
            ("mkdir", "/a"),
            ("mkdir", "/a/b"),
            ("write", "/a/b", "cgroup.type", "threaded"),
            ("write", "/a", "cgroup.subtree_control", "+hugetlb"),
            ("write", "/", "cgroup.subtree_control", "+hugetlb"),
            ("write", "/a", "cgroup.subtree_control", "+hugetlb"),
            ("read", "/a/b", "cgroup.controllers"),
        ],
    ),
    "hugetlb": ("hugetlb", writes("/", "hugetlb.2MB.max", *HUGETLB, "max", "-1")),
    "hugetlb reservations": ("hugetlb", writes("/", "hugetlb.2MB.rsvd.max", *HUGETLB, "max")),
    "gigantic pages": ("hugetlb", writes("/", "hugetlb.1GB.max", "1G", "3000M", "1M", "max")),
    "weight": ("cpu", writes("/", "cpu.weight", "1", "10000", "0", "10001", "x", "-1", "150")),
    "idle": (
        "cpu",
        [
            *writes("/", "cpu.idle", "1", "2", "x"),
            *writes("/", "cpu.weight", "100"),
            ("write", "/", "cpu.idle", "0"),
            ("read", "/", "cpu.weight"),
        ],
    ),
    "cpu.max": (
        "cpu",
        [
            *writes(
                "/", "cpu.max", "50000", "50000 200000", "max", "max 50000", "500", "1000 2000000"
            ),
            *writes("/", "cpu.max", "x", "", "-1 100000", "10000 x", "20000", "20000 100000 5"),
            *writes("/", "cpu.max.burst", "30000", "20000", "-1"),
            *writes("/", "cpu.max", "10000", "max"),
            ("mkdir", "/a"),
            ("write", "/", "cpu.max", "10000 100000"),
            *writes("/a", "cpu.max", "50000 100000"),
        ],
    ),
    "cpu for children": (
        "cpu",
        [
            ("mkdir", "/a"),
            ("read", "/a", "cpu.max"),
            ("write", "/", "cgroup.subtree_control", "+cpu"),
            *(("read", "/a", f) for f in ("cpu.max", "cpu.weight", "cgroup.controllers")),
            ("join", "/a"),
            ("write", "/a", "cgroup.subtree_control", "+cpu"),
            ("mkdir", "/b"),
            ("write", "/b", "cgroup.subtree_control", "+cpu"),
            ("join", "/b"),
            ("read", "/b", "cgroup.type"),
        ],
    ),
    "threaded controllers": (
        "cpu",
        [
            ("mkdir", "/a"),
            ("mkdir", "/a/b"),
            ("write", "/", "cgroup.subtree_control", "+cpu"),
            ("write", "/a/b", "cgroup.type", "threaded"),
            ("join", "/a"),
            ("write", "/a", "cgroup.subtree_control", "+cpu"),
            ("read", "/a", "cgroup.type"),
            ("read", "/a/b", "cpu.weight"),
            ("join", "/a/b"),
            ("write", "/a/b", "cgroup.subtree_control", "+cpu"),
        ],
    ),
    "cpuset": (
        "cpuset",
        [
            *writes("/", "cpuset.cpus", "0", "x", "0-", "5000", "1-0"),
            ("read", "/", "cpuset.cpus.effective"),
            *writes("/", "cpuset.mems", "0", "1", "7000"),
            ("mkdir", "/a"),
            ("write", "/", "cgroup.subtree_control", "+cpuset"),
            ("read", "/a", "cpuset.cpus"),
            ("read", "/a", "cpuset.cpus.effective"),
            *writes("/a", "cpuset.cpus", "1"),
            ("read", "/a", "cpuset.cpus.effective"),
            *writes("/", "cpuset.cpus", ""),
            ("read", "/", "cpuset.cpus.effective"),
            ("read", "/a", "cpuset.cpus.effective"),
            ("join", "/a"),
        ],
    ),
    "memory": (
        "memory",
        [
            *writes("/", "memory.max", "1M", "5000000", "x", "-1", "max", "1G", "0x200000"),
            *writes("/", "memory.high", "3000000", "max", "99999999999999999999"),
            *writes("/", "memory.low", "5000", "0"),
            *writes("/", "memory.min", "1k", "max"),
            *writes("/", "memory.swap.max", "0", "8M", "max"),
            *writes("/", "memory.oom.group", "1", "2", "x", "0"),
            ("write", "/", "memory.reclaim", "1M"),
        ],
    ),
    "io.max": (
        "io",
        [
            *writes("/", "io.max", "DISK rbps=1048576", "DISK wiops=120 rbps=max", "DISK x=1"),
            *writes(
                "/", "io.max", "999:0 rbps=1", "DISK rbps=0", "DISK rbps=x", "x", "DISK wiops=max"
            ),
            *writes("/", "io.max", "PART rbps=1"),
        ],
    ),
    "io.weight": (
        "io",
        writes("/", "io.weight", "200", "default 300", "0", "10001", "x", "999:0 1"),
    ),
}


def fill_in(operations: list[Operation]) -> list[Operation]:
    """The words DISK and PART become numbers of this machine's first disk and of a partition."""
    disks = sorted(Path("/sys/block").glob("vd*")) or sorted(Path("/sys/block").glob("*"))
    parts = [path.parent for disk in disks for path in sorted(disk.glob("*/partition"))]
    disk = (disks[0] / "dev").read_text().strip()
    part = (parts[0] / "dev").read_text().strip() if parts else "999:0"
    return [
        tuple(word.replace("DISK", disk).replace("PART", part) for word in operation)
        for operation in operations
    ]
