"""Starting processes inside groups, on the kernel that runs here."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cgmgr import kernfs, linux
from cgmgr.errors import DeadlineExceeded, GroupBusy, GroupGone, KernelError
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.spawn import PIPE, Ended, Placement, Process, SpawnRequest, birth, link, process, start

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65534


def start_in(group: Group, *argv: str, floor_fds: tuple[int, ...] = (), **fields: Any) -> Process:
    with Placement.of(group, floor_fds) as place:
        return start(SpawnRequest(argv=argv, placement=place, **fields))


def output(group: Group, *argv: str, **fields: Any) -> str:
    with start_in(group, *argv, stdout=PIPE, **fields) as child:
        assert child.stdout is not None
        text = child.stdout.read().decode()
        assert child.wait() == 0
    return text


def ends(group: Group, *argv: str, **fields: Any) -> Ended:
    with start_in(group, *argv, **fields) as child:
        return child.wait_ended()


def places(text: str) -> dict[str, str]:
    """/proc/PID/cgroup by hierarchy."""
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in text.splitlines()}


def v2_directory(group: Group) -> kernfs.Directory:
    if group.host.v2 is None:
        pytest.skip("no cgroup2 is mounted")
    return group.at(group.host.v2.key)


# --- it is in its groups


def test_it_is_in_the_group_in_every_hierarchy(group: Group) -> None:
    found = places(output(group, "cat", "/proc/self/cgroup"))
    assert {key: found[key] for key in group.paths} == group.paths


def test_whoever_it_starts_is_there_too(group: Group) -> None:
    found = places(output(group, "sh", "-c", "sh -c 'cat /proc/self/cgroup'"))
    assert {key: found[key] for key in group.paths} == group.paths


def test_the_spawner_is_not_in_it(group: Group) -> None:
    with start_in(group, "cat", stdin=PIPE) as child:
        assert group.pids() == [child.pid]
        mine = places(Path("/proc/self/cgroup").read_text())
        assert places(Path(f"/proc/{link.pid()}/cgroup").read_text()) == mine


def test_the_least_memory_and_one_task_run_true(manager: Manager, name: str) -> None:
    with manager.create(name, memory="6M", pids=1) as group:
        assert ends(group, "true") == Ended(exit=0)
        assert ends(group, "sh", "-c", "true & wait $!").exit != 0, "a second task is refused"


@pytest.mark.parametrize("below", ["", "/below"], ids=["its-own", "of-one-above"])
@pytest.mark.parametrize("held", [False, True], ids=["at-once", "held"])
def test_a_task_too_many_is_refused(
    manager: Manager, name: str, tmp_path: Path, below: str, held: bool
) -> None:
    """Also where it comes by joining, which the kernel allows."""
    holder = manager.host.need("pids")
    file = tmp_path / "executed"
    with manager.create(name, pids=1) as limited:
        group = manager.create(name + below) if below else limited
        with start_in(group, "cat", stdin=PIPE) as first:
            with Placement.of(group) as place:
                where = Placement() if held else place
                request = SpawnRequest(argv=["touch", str(file)], placement=where, hold=held)
                if held and holder.version == 2:
                    pytest.skip("a held one joins by itself on v1 only")
                with pytest.raises(KernelError) as caught:
                    child = start(request)
                    child.release(place)
            assert group.pids() == [first.pid]
        assert caught.value.errno == errno.EAGAIN
        if holder.version == 1:
            path = manager.host.tree(holder).absolute(limited.paths[holder.key])
            assert isinstance(caught.value, GroupBusy)
            assert (caught.value.path, caught.value.value) == (path, "1")
            assert str(caught.value) == (
                f"attach to {path}: it has all the tasks that its pids.max allows, 1"
            )
        assert not file.exists()
        assert ends(group, "touch", str(file)) == Ended(exit=0)


def test_any_cpu_of_the_cpuset_whatever_ours_are(manager: Manager, name: str, host: Host) -> None:
    cpus = sorted(host.facts.cpus)
    if len(cpus) < 2:
        pytest.skip("one CPU")
    mine = os.sched_getaffinity(0)
    with manager.create(name, cpuset=str(cpus[1])) as group:
        os.sched_setaffinity(0, {cpus[0]})
        try:
            status = output(group, "cat", "/proc/self/status")
        finally:
            os.sched_setaffinity(0, mine)
    assert f"Cpus_allowed_list:\t{cpus[1]}\n" in status


def test_peaks_are_reset_right_before_exec(group: Group) -> None:
    """What a former process used is not in the peak of this one, and ours is small and told."""
    directory = group.directory("memory")
    v1 = group.host.need("memory").version == 1
    fill = "x = bytearray(32 << 20)"
    assert ends(group, sys.executable, "-I", "-S", "-c", fill) == Ended(exit=0)
    fd = directory.open("memory.max_usage_in_bytes" if v1 else "memory.peak", os.O_RDWR)
    try:
        assert int(os.pread(fd, 32, 0)) > 32 << 20
        with start_in(group, "true", floor_fds=(fd,)) as child:
            child.wait()
            assert child.floors is not None
            assert 0 < int(child.floors[0]) < 2 << 20
        assert int(os.pread(fd, 32, 0)) < 8 << 20
    finally:
        os.close(fd)


def test_a_peak_that_cannot_be_reset_is_told_all_the_same(group: Group) -> None:
    directory = group.directory("memory")
    v1 = group.host.need("memory").version == 1
    fd = directory.open("memory.max_usage_in_bytes" if v1 else "memory.peak", os.O_RDONLY)
    try:
        with start_in(group, "true", floor_fds=(fd,)) as child:
            assert child.wait() == 0
            assert child.floors is not None
            assert int(child.floors[0]) > 0
    finally:
        os.close(fd)


def test_what_dies_with_the_caller_does_not_die_with_the_spawner(group: Group) -> None:
    with start_in(group, "cat", stdin=PIPE, die_with_caller=True) as child:
        link.shutdown()
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait() == 0


def test_a_held_process_joins_when_it_is_released(group: Group) -> None:
    child = start(SpawnRequest(argv=["cat", "/proc/self/cgroup"], stdout=PIPE, hold=True))
    with child:
        assert group.pids() == []
        with Placement.of(group) as place:
            v2 = v2_directory(group).open("cgroup.procs", os.O_WRONLY)
            try:
                child.release(Placement(procs_fds=(*place.procs_fds, v2)))
            finally:
                os.close(v2)
        assert child.stdout is not None
        found = places(child.stdout.read().decode())
    assert {key: found[key] for key in group.paths} == group.paths


def test_a_held_process_is_in_its_groups_before_it_is_released(group: Group) -> None:
    with start_in(group, "true", hold=True) as child:
        child.release()
        assert child.wait() == 0
    child = start_in(group, "sleep", "1000", hold=True)
    with child:
        group.kill()
        assert child.wait_ended() == Ended(signal=signal.SIGKILL)


# --- groups that do not take it


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_that_is_gone(group: Group, host: Host, version: int) -> None:
    keys = [h.key for h in host.managed if h.version == version and h.key in group.paths]
    if not keys:
        pytest.skip(f"no hierarchy of version {version}")
    with Placement.of(group) as place:
        host.tree(host.by_key(keys[0])).rmdir(group.paths[keys[0]])
        with pytest.raises(GroupGone) as caught:
            start(SpawnRequest(argv=["true"], placement=place))
    assert caught.value.path is not None
    assert group.name in caught.value.path
    assert caught.value.errno in (errno.ENODEV, errno.ENOENT)
    host.tree(host.by_key(keys[0])).mkdir(group.paths[keys[0]])


def test_a_cpuset_without_cpus_is_named(group: Group, host: Host) -> None:
    hierarchy = host.need("cpuset")
    if hierarchy.version != 1:
        pytest.skip("a cpuset of cgroup2 is never empty")
    tree, path = host.tree(hierarchy), kernfs.join(group.paths[hierarchy.key], "empty")
    tree.mkdir(path)
    try:
        with tree.open(path) as directory:
            fd = directory.open("tasks", os.O_WRONLY)
        try:
            with pytest.raises(KernelError) as caught:
                start(SpawnRequest(argv=["true"], placement=Placement(procs_fds=(fd,))))
        finally:
            os.close(fd)
    finally:
        tree.rmdir(path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.path == f"{tree.absolute(path)}/tasks"


def test_threaded_groups(group: Group) -> None:
    """A threaded one takes a whole process; one that is neither this nor that takes none."""
    directory = v2_directory(group)
    tree = directory.tree
    threaded, invalid = (kernfs.join(directory.path, name) for name in ("threaded", "invalid"))
    tree.mkdir(threaded)
    tree.mkdir(invalid)
    try:
        with tree.open(threaded) as here, tree.open(invalid) as nowhere:
            here.write("cgroup.type", "threaded")
            assert nowhere.read("cgroup.type") == "domain invalid\n"
            place = Placement(cgroup_fd=here.fd)
            assert start(SpawnRequest(argv=["true"], placement=place)).wait() == 0
            with pytest.raises(KernelError) as caught:
                start(SpawnRequest(argv=["true"], placement=Placement(cgroup_fd=nowhere.fd)))
    finally:
        tree.rmdir(threaded)
        tree.rmdir(invalid)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert caught.value.path == tree.absolute(invalid)


def test_a_frozen_group_is_a_matter_of_time(group: Group) -> None:
    directory = v2_directory(group)
    directory.write("cgroup.freeze", "1")
    try:
        with pytest.raises(DeadlineExceeded) as caught, Placement.of(group) as place:
            start(SpawnRequest(argv=["true"], placement=place), timeout=0.2)
        assert caught.value.hint
    finally:
        directory.write("cgroup.freeze", "0")
    group.wait_empty()


def test_a_held_process_is_not_handed_over_before_it_waits(group: Group) -> None:
    """It is cloned into a frozen group, and does not come to wait there."""
    directory = v2_directory(group)
    directory.write("cgroup.freeze", "1")
    try:
        with pytest.raises(DeadlineExceeded), Placement.of(group) as place:
            start(SpawnRequest(argv=["true"], placement=place, hold=True), timeout=0.2)
    finally:
        directory.write("cgroup.freeze", "0")
    group.wait_empty()


def test_a_group_that_was_killed_once_takes_processes(group: Group) -> None:
    """Linux 6.18 kills whatever is cloned into such a group, before its first instruction."""
    directory = v2_directory(group)
    directory.write("cgroup.kill", "1")
    for _ in range(2):
        assert output(group, "echo", "alive") == "alive\n"
    assert ends(group, "sh", "-c", "kill -9 $$") == Ended(signal=signal.SIGKILL)
    assert group.pids() == []


def test_one_that_is_killed_before_exec_has_ended_so(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(birth, "_clone_into", birth._CloneInto())  # pyright: ignore
    child = start_in(group, "sleep", "1000", hold=True)
    os.kill(child.pid, signal.SIGKILL)
    with child:
        with contextlib.suppress(KernelError):
            child.release()
        assert child.wait_ended() == Ended(signal=signal.SIGKILL)
        assert child.floors is None


def test_a_kernel_that_hides_clone3(group: Group) -> None:
    """As docker's seccomp profile does, with ENOSYS: by clone(2), and into cgroup2 by hand."""
    code = f"""
import os, sys
from cgmgr.host import Host
from cgmgr.spawn import *
from tests.root.seccomp import refuse
from types import SimpleNamespace
refuse({linux.SYS_clone3}, 38)
group = SimpleNamespace(host=Host.detect(), paths={group.paths!r})
with Placement.of(group) as place:
    child = start(SpawnRequest(argv=["cat", "/proc/self/cgroup"], placement=place))
sys.exit(child.wait())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = places(done.stdout)
    assert {key: found[key] for key in group.paths} == group.paths


# --- elsewhere


def test_namespaces(group: Group) -> None:
    flags = (
        linux.CLONE_NEWPID
        | linux.CLONE_NEWNS
        | linux.CLONE_NEWUTS
        | linux.CLONE_NEWIPC
        | linux.CLONE_NEWNET
        | linux.CLONE_NEWCGROUP
    )
    with Placement.of(group) as place:
        child = start(
            SpawnRequest(
                entry="tests.spawn_entries:namespaces",
                stdout=PIPE,
                clone_flags=flags,
                new_session=True,
                placement=place,
            )
        )
    with child:
        assert child.stdout is not None
        pid, *lines = child.stdout.read().decode().split("\n")
        assert child.wait() == 0
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]  # noqa: PTH115
    assert pid == "1"
    assert not set(lines[:6]) & set(ours)
    found = places("\n".join(lines[6:]))
    assert {found[key] for key in group.paths} == {"/"}, "the namespace begins at the group"


def test_an_orphan_leaves_no_zombie_whoever_ends_it(group: Group) -> None:
    child = start_in(group, "sleep", "1000", orphan=True, hold=True)
    child.release(timeout=10)
    assert group.pids() == [child.pid]
    pid = child.pid
    child.close()
    assert not process.orphans

    os.kill(pid, signal.SIGKILL)

    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not Path(f"/proc/{pid}").exists()


def test_an_orphan_outlives_its_spawner() -> None:
    child = start(SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE, orphan=True))
    link.shutdown()
    assert child.communicate(b"still here", timeout=10) == (b"still here", None)
    child.close()


def test_an_entry_may_wait_for_children_beside_an_orphan() -> None:
    for _ in range(2):
        child = start(SpawnRequest(argv=["true"], orphan=True))
        child.wait_ended(10)
        child.close()
        with start(SpawnRequest(entry="tests.spawn_entries:waits_for_a_child")) as parent:
            assert parent.wait() == 7


def test_an_orphan_that_cannot_start_is_an_error_as_any() -> None:
    with pytest.raises(KernelError) as caught:
        start(SpawnRequest(argv=["/no/such"], orphan=True))
    assert caught.value.errno == errno.ENOENT


def test_nothing_is_left_of_starts_that_failed(group: Group) -> None:
    for _ in range(3):
        with pytest.raises(KernelError):
            start_in(group, "/no/such/program")
    assert group.pids(recursive=True) == []
    process.reap_orphans()
    assert not process.orphans


SESSION_KEYRING = -3  # linux/keyctl.h, KEY_SPEC_SESSION_KEYRING


@pytest.mark.parametrize("new", [True, False])
def test_a_keyring_of_its_own_or_the_callers(new: bool) -> None:
    asked = f"{linux.SYS_keyctl}, 0, {SESSION_KEYRING}, 0"  # KEYCTL_GET_KEYRING_ID
    code = f"import ctypes; print(ctypes.CDLL(None).syscall({asked}))"
    argv = [sys.executable, "-I", "-S", "-c", code]
    with start(SpawnRequest(argv=argv, stdout=PIPE, new_keyring=new)) as child:
        output, _ = child.communicate()
    mine = linux.syscall(linux.SYS_keyctl, 0, SESSION_KEYRING, 0)
    assert (int(output or b"0") == mine) is not new
