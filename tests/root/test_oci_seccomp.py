"""cgmgr-oci and system calls: the program that waits at the gate, and one that enters."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import HostError
from cgmgr.runtime.seccomp_names import Library

from .agent import agent
from .oci import Client, client

try:
    LIBRARY = Library()
except HostError as error:
    pytest.skip(str(error), allow_module_level=True)

STATUS = ("/bin/cat", "/proc/self/status")


@pytest.fixture
def oci(tmp_path: Path, run_token: str) -> Generator[Client]:
    with client(tmp_path, run_token) as made:
        yield made


def under(oci: Client, seccomp: dict[str, Any] | None) -> None:
    config = oci.config
    config["linux"]["seccomp"] = seccomp
    oci.write(config)


def deny(name: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    calls = [{"names": [name], "action": action}]
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls, **more}


def filters(text: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines() if line.startswith("Seccomp")]


@pytest.mark.parametrize("no_new", [True, False], ids=["no-new-privileges", "new-privileges"])
def test_the_program_and_one_that_enters_are_filtered(oci: Client, no_new: bool) -> None:
    under(oci, deny("mkdir"))
    oci.change("/bin/sh", "-c", "cat /proc/self/status; exec sleep 1000", noNewPrivileges=no_new)

    oci.create()
    oci.done("start", oci.id)
    entered = oci.done("exec", oci.id, *STATUS)
    while "Seccomp_filters" not in oci.output():
        pass

    assert filters(oci.output()) == filters(entered) == ["2", "1"]
    denied = oci.oci("exec", oci.id, "/bin/busybox", "mkdir", "/tmp/x")
    assert "Operation not permitted" in denied.stderr


def test_a_container_without_a_filter(oci: Client) -> None:
    under(oci, None)
    oci.change(*STATUS)

    assert filters(oci.done("run", "--bundle", str(oci.bundle), oci.id)) == ["0", "0"]


def test_what_is_wrong_is_told_by_create(oci: Client) -> None:
    under(oci, deny("mkdir", "DENY"))

    said = oci.fails("create", "--bundle", str(oci.bundle), oci.id)

    assert "linux.seccomp.syscalls[0].action: unknown 'DENY'" in said


def test_a_program_that_is_not_there_is_told_all_the_same(oci: Client) -> None:
    under(oci, {"defaultAction": "SCMP_ACT_KILL_PROCESS"})
    oci.change("/no/such/program")

    said = oci.fails("create", "--bundle", str(oci.bundle), oci.id)

    assert "/no/such/program" in said


def test_somebody_is_asked(oci: Client, tmp_path: Path) -> None:
    """Told while the container is created, asked once it is started."""
    with agent(tmp_path, errno.EDOM) as who:
        under(oci, deny("mkdir", "SCMP_ACT_NOTIFY", listenerPath=str(who.path)))
        oci.change("/bin/busybox", "mkdir", "/tmp/x")
        oci.create()
        pid = json.loads(oci.done("state", oci.id))["pid"]
        oci.done("start", oci.id)
        oci.wait("stopped")

    assert os.strerror(errno.EDOM) in oci.output()
    assert who.told["pid"] == pid
    assert who.told["state"]["id"] == oci.id
    assert who.told["state"]["bundle"] == str(oci.bundle)
    assert who.told["state"]["status"] == "creating"


def test_features_say_what_there_is(oci: Client) -> None:
    said = json.loads(oci.done("features"))["linux"]["seccomp"]

    assert said["enabled"] is True
    assert "SCMP_ACT_NOTIFY" in said["actions"]
    assert set(said["supportedFlags"]) <= set(said["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_LOG" in said["supportedFlags"]
