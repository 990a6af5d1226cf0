"""Recorded hosts, laid out and run against; what is like the kernel is compared in tests/root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cgmgr.errors import CgmgrError, GroupBusy, GroupGone, NotDelegated
from tests.fakefs import FakeHost, FakeTree, unpack
from tests.recording import BARE, FRESH, HOSTS, PROBE, Entry, Recording, parse

NAMES = sorted(path.stem for path in HOSTS.glob("*.tree"))

#: mode, own group of the memory (or first) hierarchy, what cgroup2 lists, PID 1
HOSTS_AS_SEEN = {
    "debian12-unified": (
        "unified",
        "/system.slice/cgmgr-job.service",
        "cpuset cpu io memory hugetlb pids rdma misc",
        "systemd",
    ),
    "debian12-unified-bfq": (
        "unified",
        "/system.slice/cgmgr-job.service",
        "cpuset cpu io memory hugetlb pids rdma misc",
        "systemd",
    ),
    "debian12-hybrid": ("hybrid", "/system.slice/cgmgr-job.service", "", "systemd"),
    "debian12-legacy": ("legacy", "/system.slice/cgmgr-job.service", None, "systemd"),
    "debian12-mixed": ("hybrid", "/system.slice/cgmgr-job.service", "hugetlb pids", "systemd"),
    "linux618-hybrid": ("hybrid", "/svc/job", "hugetlb", "init"),
    "linux618-hybrid-net": ("hybrid", "/svc/job", "hugetlb", "init"),
}

BAD_TREES = {
    "text before the first path": "hello\n",
    "a path that is not absolute": "=== proc/version\n",
    "an errno that there is not": "!!! /a ENOSUCH 0444\n",
    "a reason without a mode": "!!! /a write-only\n",
    "a link without a target": "--> /a\n",
}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return unpack("debian12-unified", tmp_path)


@pytest.fixture
def tree(host: FakeHost) -> FakeTree:
    return tree_of(host, "memory")


def tree_of(host: FakeHost, controller: str) -> FakeTree:
    """The hierarchy that holds a controller ("" for cgroup2); all are enabled at the v2 root."""
    hierarchy = host.need(controller) if controller else host.v2
    assert hierarchy is not None
    tree = host.tree(hierarchy)
    assert isinstance(tree, FakeTree)
    if hierarchy.version == 2:
        controllers = read(tree, "/", "cgroup.controllers").split()
        write(tree, "/", "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))
    return tree


def read(tree: FakeTree, path: str, file: str) -> str:
    with tree.open(path) as directory:
        return directory.read(file)


def write(tree: FakeTree, path: str, file: str, value: str) -> None:
    with tree.open(path) as directory:
        directory.write(file, value)


# -- the format


def test_every_recording_is_known_here() -> None:
    assert sorted(HOSTS_AS_SEEN) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_host_is_seen_as_recorded(name: str, tmp_path: Path) -> None:
    host = unpack(name, tmp_path)
    v2 = None if host.v2 is None else read(tree_of(host, ""), "/", "cgroup.controllers").strip()

    seen = (host.mode, host.need("memory").own, v2, host.pid1)

    assert seen == HOSTS_AS_SEEN[name]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_laid_out_is_what_was_recorded(name: str, tmp_path: Path) -> None:
    recording = Recording.load(name)

    recording.unpack(tmp_path)

    for path, entry in recording.entries.items():
        there = tmp_path / path.lstrip("/")
        if entry.target is not None:
            assert there.readlink() == Path(entry.target)
        elif entry.is_file:
            assert there.read_text(encoding="utf-8") == (entry.text or "")
            assert there.stat().st_mode & 0o7777 == entry.mode
        else:
            assert there.is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_links_between_recorded_devices_lead_somewhere(name: str, tmp_path: Path) -> None:
    Recording.load(name).unpack(tmp_path)

    links = [path for path in (tmp_path / "sys").rglob("*") if path.is_symlink()]

    assert links
    assert [link for link in links if not link.exists()] == []


def test_each_kind_of_line() -> None:
    text = (
        "# about\n=== /a\none\n\n=== /b 0444\n=== /c\nx\n\\ no newline at the end\n"
        "!!! /d write-only 0200\n!!! /e ENOTSUP 0644\n--> /f ../a\n/// /g\n"
    )

    assert parse(text) == {
        "/a": Entry(0o644, "one\n\n"),
        "/b": Entry(0o444, ""),
        "/c": Entry(0o644, "x"),
        "/d": Entry(0o200, number=errno.EINVAL),
        "/e": Entry(0o644, number=errno.ENOTSUP),
        "/f": Entry(target="../a"),
        "/g": Entry(),
    }


@pytest.mark.parametrize("text", BAD_TREES.values(), ids=BAD_TREES)
def test_a_line_without_meaning_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|no errno"):
        parse(text)


def test_the_groups_of_the_recorder_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    unpack("debian12-unified", tmp_path / "without")
    unpack("debian12-unified", tmp_path / "with", made=True)

    assert not list((tmp_path / "without/sys/fs/cgroup").glob("cgmgr-*"))
    assert {path.name for path in (tmp_path / "with/sys/fs/cgroup").glob("cgmgr-*")} == {
        FRESH,
        PROBE,
    }


# -- groups


@pytest.mark.parametrize("name", NAMES)
def test_a_new_group_is_the_recorded_new_group(name: str, tmp_path: Path) -> None:
    host = unpack(name, tmp_path)
    for hierarchy in host.hierarchies:
        tree = tree_of(host, hierarchy.controllers[0] if hierarchy.version == 1 else "")
        top = "/" + os.path.relpath(hierarchy.mountpoint, tmp_path)
        expected = host.recording.files(f"{top}/{FRESH}")

        tree.mkdir("/new")

        with tree.open("/new") as directory:
            assert directory.files() == sorted(expected)
            for file, entry in expected.items():
                if entry.text is not None:
                    assert directory.read(file) == entry.text, file


@pytest.mark.parametrize("name", NAMES)
def test_a_removed_group_leaves_the_tree_as_it_was(name: str, tmp_path: Path) -> None:
    host = unpack(name, tmp_path)
    for hierarchy in host.hierarchies:
        tree = tree_of(host, hierarchy.controllers[0] if hierarchy.version == 1 else "")
        before = snapshot(tree)

        tree.mkdir("/new")
        tree.mkdir("/new/below")
        tree.rmdir("/new/below")
        tree.rmdir("/new")

        assert snapshot(tree) == before


def snapshot(tree: FakeTree) -> dict[str, bytes]:
    top = tree.kernel.top
    return {str(path): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_files_come_and_go_with_the_controllers_of_the_parent(tree: FakeTree) -> None:
    tree.mkdir("/a")
    tree.mkdir("/a/b")
    with tree.open("/a/b") as directory:
        before = directory.files()
        write(tree, "/a", "cgroup.subtree_control", "+memory +pids")
        between = directory.files()
        assert directory.read("cgroup.controllers") == "memory pids\n"
        write(tree, "/a", "cgroup.subtree_control", "-memory -pids")

        assert "memory.max" in between
        assert "cpu.max" not in between
        assert directory.files() == before


def test_a_group_without_controllers_is_the_recorded_one(tree: FakeTree) -> None:
    tree.mkdir("/a")
    tree.mkdir("/a/b")

    expected = tree.host.recording.files(f"/sys/fs/cgroup/{FRESH}/{BARE}")

    with tree.open("/a/b") as directory:
        assert directory.files() == sorted(expected)


REFUSED = {
    "a group that is there": ("mkdir", "/a", errno.EEXIST),
    "a group below nothing": ("mkdir", "/x/y", errno.ENOENT),
    "a group with a child": ("rmdir", "/a", errno.EBUSY),
    "a group with a process": ("rmdir", "/a/b", errno.EBUSY),
    "a group that is not there": ("rmdir", "/x", errno.ENOENT),
    "a recorded group in use": ("rmdir", "/system.slice", errno.EBUSY),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: tuple[str, str, int], host: FakeHost, tree: FakeTree) -> None:
    verb, path, number = case
    tree.mkdir("/a")
    tree.mkdir("/a/b")
    host.place(4711, "/a/b")

    with pytest.raises(CgmgrError) as caught:
        getattr(tree, verb)(path)

    assert caught.value.errno == number


def test_a_process_is_in_one_group_of_each_hierarchy(tmp_path: Path) -> None:
    host = unpack("linux618-hybrid", tmp_path)
    for hierarchy in host.hierarchies:
        host.tree(hierarchy).mkdir("/a")
        host.tree(hierarchy).mkdir("/b")

    host.place(4711, "/a")
    memory = tree_of(host, "memory")
    write(memory, "/b", "cgroup.procs", "4711")

    assert read(memory, "/a", "cgroup.procs") == ""
    assert read(memory, "/b", "tasks") == "4711\n"
    assert read(tree_of(host, "pids"), "/a", "cgroup.procs") == "4711\n"
    assert read(tree_of(host, ""), "/a", "cgroup.events") == "populated 1\nfrozen 0\n"

    host.exit(4711)

    assert read(memory, "/b", "tasks") == ""
    assert read(tree_of(host, ""), "/a", "cgroup.events") == "populated 0\nfrozen 0\n"


def test_a_process_that_there_is_not_cannot_be_moved(tree: FakeTree) -> None:
    tree.mkdir("/a")

    with pytest.raises(CgmgrError) as caught:
        write(tree, "/a", "cgroup.procs", "4194303")

    assert caught.value.errno == errno.ESRCH


def test_inner_groups_hold_no_processes(host: FakeHost, tree: FakeTree) -> None:
    tree.mkdir("/a")
    tree.mkdir("/a/b")
    host.place(4711, "/a")

    with pytest.raises(GroupBusy):
        write(tree, "/a", "cgroup.subtree_control", "+memory")
    write(tree, "/a/b", "cgroup.procs", "4711")
    write(tree, "/a", "cgroup.subtree_control", "+memory")
    with pytest.raises(GroupBusy):
        write(tree, "/a", "cgroup.procs", "4711")


def test_a_frozen_parent_freezes_what_is_below(tree: FakeTree) -> None:
    tree.mkdir("/a")
    tree.mkdir("/a/b")

    write(tree, "/a", "cgroup.freeze", "1")

    assert read(tree, "/a/b", "cgroup.events") == "populated 0\nfrozen 1\n"
    assert read(tree, "/a/b", "cgroup.freeze") == "0\n"


def test_kill_empties_all_below(host: FakeHost, tree: FakeTree) -> None:
    tree.mkdir("/a")
    tree.mkdir("/a/b")
    host.place(4711, "/a/b")
    host.place(4712, "/a")

    write(tree, "/a", "cgroup.kill", "1")

    assert read(tree, "/a", "cgroup.procs") + read(tree, "/a/b", "cgroup.procs") == ""
    assert read(tree, "/a", "cgroup.events") == "populated 0\nfrozen 0\n"


def test_a_cpuset_must_be_filled_before_a_process_comes(tmp_path: Path) -> None:
    host = unpack("debian12-legacy", tmp_path)
    tree = tree_of(host, "cpuset")
    tree.mkdir("/a")
    procs = str(os.getpid())

    with pytest.raises(CgmgrError) as caught:
        write(tree, "/a", "cgroup.procs", procs)
    write(tree, "/a", "cpuset.cpus", "0-1")
    write(tree, "/a", "cpuset.mems", "0")
    write(tree, "/a", "cgroup.procs", procs)

    assert caught.value.errno == errno.ENOSPC
    assert read(tree, "/a", "cgroup.procs") == f"{procs}\n"


#: host, controller, file, value -> what it says then, or the errno
WRITES: list[tuple[str, str, str, str, str | int]] = [
    ("debian12-unified", "memory", "memory.max", "5000000", "4997120\n"),
    ("debian12-unified", "memory", "memory.max", "-1", errno.EINVAL),
    ("debian12-unified", "memory", "memory.events", "0", errno.EINVAL),
    ("debian12-unified", "memory", "memory.nosuch", "0", errno.ENOENT),
    ("debian12-unified", "hugetlb", "hugetlb.2MB.max", "5M", "4194304\n"),
    ("debian12-unified", "cpu", "cpu.max", "50000", "50000 100000\n"),
    ("debian12-unified", "cpu", "cpu.weight", "0", errno.ERANGE),
    (
        "debian12-unified",
        "io",
        "io.max",
        "254:0 rbps=1048576",
        "254:0 rbps=1048576 wbps=max riops=max wiops=max\n",
    ),
    ("debian12-unified", "io", "io.max", "254:17 rbps=1048576", errno.ENODEV),
    (
        "debian12-unified",
        "rdma",
        "rdma.max",
        "rxe0 hca_handle=2",
        "rxe0 hca_handle=2 hca_object=max \n",
    ),
    ("debian12-unified", "rdma", "rdma.max", "mlx5 hca_handle=2", errno.ENODEV),
    ("debian12-unified-bfq", "io", "io.bfq.weight", "200", "default 200\n"),
    ("debian12-hybrid", "hugetlb", "hugetlb.2MB.limit_in_bytes", "5M", "4194304\n"),
    ("debian12-legacy", "cpu", "cpu.shares", "1", "2\n"),
    ("debian12-legacy", "net_cls", "net_cls.classid", "0x100001", "1048577\n"),
    ("debian12-legacy", "net_prio", "net_prio.ifpriomap", "lo 3", "lo 3\n"),
    ("debian12-mixed", "pids", "pids.max", "-1", errno.EINVAL),
    ("linux618-hybrid", "memory", "memory.limit_in_bytes", "-1", "9223372036854771712\n"),
    ("linux618-hybrid", "memory", "memory.memsw.limit_in_bytes", "1M", errno.EINVAL),
    ("linux618-hybrid", "cpu", "cpu.cfs_quota_us", "999", errno.EINVAL),
]


@pytest.mark.parametrize("row", WRITES, ids=lambda row: " ".join(map(str, row[:4])))
def test_write(row: tuple[str, str, str, str, str | int], tmp_path: Path) -> None:
    name, controller, file, value, expected = row
    tree = tree_of(unpack(name, tmp_path), controller)
    tree.mkdir("/a")

    try:
        write(tree, "/a", file, value)
        said: str | int | None = read(tree, "/a", file)
    except CgmgrError as error:
        said = error.errno

    assert said == expected


def test_a_limit_below_what_a_test_says_is_used(tmp_path: Path) -> None:
    tree = tree_of(unpack("linux618-hybrid", tmp_path), "memory")
    tree.mkdir("/a")
    tree.kernel.group("/a").put("memory.usage_in_bytes", "8388608")

    with pytest.raises(CgmgrError) as caught:
        write(tree, "/a", "memory.limit_in_bytes", "4M")

    assert caught.value.errno == errno.EBUSY


def test_reading_a_file_that_can_only_be_written(tree: FakeTree) -> None:
    tree.mkdir("/a")

    with pytest.raises(CgmgrError) as caught:
        read(tree, "/a", "cgroup.kill")

    assert caught.value.errno == errno.EINVAL


# -- what tests ask of a host


def test_what_was_written_is_remembered_in_order(host: FakeHost, tree: FakeTree) -> None:
    tree.mkdir("/a")
    start = len(host.writes)

    write(tree, "/a", "memory.high", "1M")
    write(tree, "/a", "memory.max", "2M")
    with pytest.raises(CgmgrError):
        write(tree, "/a", "memory.max", "x")

    assert host.writes[start:] == [
        ("", "/a", "memory.high", "1M"),
        ("", "/a", "memory.max", "2M"),
    ]


def test_a_fault_is_met_and_changes_nothing(host: FakeHost, tree: FakeTree) -> None:
    tree.mkdir("/a")
    host.fail("/a", "memory.max", errno.EPERM)

    with pytest.raises(NotDelegated):
        write(tree, "/a", "memory.max", "1M")
    host.faults.clear()

    assert read(tree, "/a", "memory.max") == "max\n"


def test_the_recorded_group_in_use(host: FakeHost) -> None:
    assert host.probe("hugetlb")["hugetlb.2MB.current"] == "4194304\n"
    assert host.probe("rdma")["rdma.current"].startswith("rxe0 hca_handle=1 ")


def test_a_group_that_is_gone(tree: FakeTree) -> None:
    tree.mkdir("/a")
    with tree.open("/a") as directory:
        tree.rmdir("/a")

        with pytest.raises(GroupGone):
            directory.read("memory.max")
        with pytest.raises(GroupGone):
            directory.try_read("memory.max")
        with pytest.raises(GroupGone):
            directory.write("memory.max", "1M")
