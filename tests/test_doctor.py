"""What the doctor finds on recorded hosts, and on the one that runs here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cgmgr import doctor, rights
from cgmgr.doctor import NO, NOTE, OK, Finding
from cgmgr.host import Host
from tests.fakefs import unpack


def found(host: Host, subject: str) -> list[Finding]:
    return [finding for finding in doctor.examine(host) if finding.subject == subject]


@pytest.mark.parametrize(
    ("name", "subject", "level", "text"),
    [
        pytest.param("debian12-unified", "hierarchy", OK, "unified", id="mode"),
        pytest.param("debian12-unified", "net_cls", NO, "cgroup v2 has none", id="v1-only"),
        pytest.param("debian12-unified", "cpuacct", OK, "part of cpu", id="cpuacct-on-v2"),
        pytest.param("debian12-unified", "pressure", OK, "by group", id="pressure"),
        pytest.param("debian12-legacy", "pressure", NO, "on cgroup2 only", id="pressure-on-v1"),
        pytest.param("debian12-legacy", "kill", OK, "by freezing", id="kill-on-v1"),
        pytest.param("debian12-mixed", "pids", OK, "cgroup2 at", id="mixed"),
        pytest.param("debian12-mixed", "memory", OK, "v1 at", id="mixed-v1"),
        pytest.param("linux618-hybrid", "rdma", NO, "built without it", id="not-compiled"),
        pytest.param("linux618-hybrid", "net_cls", NO, "no mounted hierarchy", id="not-mounted"),
        pytest.param("linux618-hybrid", "io", NOTE, "effect on vda: bfq", id="bfq-without-bfq"),
        pytest.param("debian12-unified-bfq", "io", NOTE, "effect on vda: neither", id="bfq-on-vdb"),
        pytest.param("debian12-hybrid", "io", NOTE, "effect on vda, vdb: bfq", id="disks-alone"),
        pytest.param("debian12-legacy", "hierarchy", OK, "legacy, Linux 6.1.0-56", id="kernel"),
        pytest.param("linux618-hybrid", "cpu", NOTE, "no realtime", id="realtime-groups"),
        pytest.param("linux618-hybrid", "hugetlb", NOTE, "no huge page", id="no-huge-pages"),
    ],
)
def test_findings(name: str, subject: str, level: str, text: str, tmp_path: Path) -> None:
    findings = found(unpack(name, tmp_path, made=True), subject)

    assert any(finding.level == level and text in finding.text for finding in findings), findings


def test_every_refusal_on_a_recorded_host_has_a_way_out_or_none_exists(tmp_path: Path) -> None:
    findings = doctor.examine(unpack("linux618-hybrid", tmp_path))
    fixes = {finding.subject: finding.fix for finding in findings if finding.level == NO}

    assert fixes["rdma"] is None, "no command compiles a kernel"
    assert fixes["net_cls"] == (
        "mkdir -p /sys/fs/cgroup/net_cls && mount -t cgroup -o net_cls none /sys/fs/cgroup/net_cls"
    )


UNIFIED, HYBRID = "debian12-unified", "debian12-hybrid"
GROUP = "sys/fs/cgroup/cgmgr-fresh"
#: what is written into a file of a recorded host (None removes it) -> what is found then
CHANGED: dict[str, tuple[str, str, str | None, Finding]] = {
    "memory left out": (
        HYBRID,
        "proc/cgroups",
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n",
        Finding(
            subject="memory",
            level=NO,
            text="not available: the kernel was started with cgroup_disable=memory",
            fix="cgroup_enable=memory # on the kernel's command line, not cgroup_disable=memory",
        ),
    ),
    "no quota": (
        UNIFIED,
        f"{GROUP}/cpu.max",
        None,
        Finding(
            subject="cpu",
            level=NO,
            text="this kernel was built so that CPU time cannot be limited (CONFIG_CFS_BANDWIDTH)",
        ),
    ),
    "no swap accounting": (
        UNIFIED,
        f"{GROUP}/memory.swap.max",
        None,
        Finding(
            subject="memory",
            level=NO,
            text="swap is not counted by group: it cannot be limited",
            fix="swapaccount=1 # on the kernel's command line",
        ),
    ),
    "no overlay": (
        UNIFIED,
        "proc/filesystems",
        "nodev\ttmpfs\n",
        Finding(
            subject="containers",
            level=NO,
            text="the kernel has no overlay file system",
            fix="modprobe overlay",
        ),
    ),
    "no user namespaces": (
        UNIFIED,
        "proc/sys/user/max_user_namespaces",
        "0\n",
        Finding(
            subject="namespaces",
            level=NOTE,
            text="nobody can make a user namespace (cgmgr unshare --user)",
            fix="sysctl user.max_user_namespaces=15000",
        ),
    ),
    "user namespaces for root": (
        UNIFIED,
        "proc/sys/kernel/unprivileged_userns_clone",
        "0\n",
        Finding(
            subject="namespaces",
            level=NOTE,
            text="only root can make a user namespace (cgmgr unshare --user)",
            fix="sysctl kernel.unprivileged_userns_clone=1",
        ),
    ),
    "no pressure": (
        UNIFIED,
        "proc/pressure/memory",
        None,
        Finding(
            subject="pressure",
            level=NO,
            text="the kernel does not measure pressure",
            fix="psi=1 # on the kernel's command line",
        ),
    ),
    "iocost for one disk": (
        UNIFIED,
        "sys/fs/cgroup/io.cost.qos",
        "254:0 enable=1 ctrl=auto\n",
        Finding(
            subject="io",
            level=NOTE,
            text="weights have no effect on vdb: neither bfq nor iocost is on",
            fix="modprobe bfq && echo bfq > /sys/block/vdb/queue/scheduler",
        ),
    ),
    "no huge pages": (
        UNIFIED,
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
        "0\n",
        Finding(
            subject="hugetlb",
            level=NOTE,
            text="limits are held, but no huge page is reserved",
            fix="echo 16 > /proc/sys/vm/nr_hugepages",
        ),
    ),
}


@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
def test_a_host_with_one_thing_changed(
    case: tuple[str, str, str | None, Finding], tmp_path: Path
) -> None:
    name, file, text, expected = case
    host: Host = unpack(name, tmp_path, made=True)
    before = doctor.examine(host)
    changed = tmp_path / file
    changed.unlink(missing_ok=True)
    if text is not None:
        changed.parent.mkdir(parents=True, exist_ok=True)
        changed.write_text(text)
    if expected.subject == "memory" and "not available" in expected.text:
        mounts = tmp_path / "proc/self/mountinfo"
        mounts.chmod(0o644)
        kept = [line for line in mounts.read_text().splitlines() if "/memory " not in line]
        mounts.write_text("\n".join(kept))

    found = doctor.examine(Host.detect(str(tmp_path)))

    assert expected in found, [finding for finding in found if finding not in before]
    assert expected not in before


def test_a_recorded_host_says_nothing_of_this_process(tmp_path: Path) -> None:
    assert found(unpack("debian12-hybrid", tmp_path, made=True), "rights") == []


def test_a_delegated_group_without_all_controllers(tmp_path: Path) -> None:
    unpack("debian12-unified", tmp_path)
    top = tmp_path / "sys/fs/cgroup"
    (top / "cgroup.procs").unlink()  # which not even root can write then
    own = top / "system.slice/cgmgr-job.service/cgroup.controllers"
    own.chmod(0o644)
    own.write_text("memory pids\n")

    [finding] = found(Host.detect(str(tmp_path)), "rights")

    assert finding.level == NOTE
    assert "delegated to you without cpuset, cpu, io, hugetlb" in finding.text
    assert "Delegate=cpu cpuset" in (finding.fix or "")


def test_a_user_without_a_place_for_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = Host.detect()
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))

    said = [finding for finding in found(host, "rights") if "records" in finding.text]

    if rights.refusal(host) is not None:
        assert said == [], "no group, no record"
    else:
        [finding] = said
        assert finding.text == f"no permission to keep records of groups in {tmp_path}/missing"
        assert "export XDG_RUNTIME_DIR=" in (finding.fix or "")


def test_on_this_host_every_check_looks() -> None:
    findings = doctor.examine(Host.detect())

    assert {finding.level for finding in findings} <= {OK, NOTE, NO}
    about = [finding for finding in findings if finding.subject == "rights"]
    assert len(about) <= 2, "one line about what this user may, one about capabilities"


def test_looking_changes_nothing(tmp_path: Path) -> None:
    host = unpack("debian12-hybrid", tmp_path)
    doctor.examine(host)

    assert host.writes == []
