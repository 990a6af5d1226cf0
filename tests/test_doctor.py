"""What the doctor finds on recorded hosts, and on the one that runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr import doctor
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
        pytest.param("linux618-hybrid", "io", NOTE, "have no effect on vda", id="bfq-without-bfq"),
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


def test_looking_changes_nothing(tmp_path: Path) -> None:
    host = unpack("debian12-hybrid", tmp_path)
    doctor.examine(host)

    assert host.writes == []
