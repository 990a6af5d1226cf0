"""What is systemd's alone: properties of units, names that are taken, users with a systemd of their
own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.errors import NameTaken, RequestError
from cgmgr.group import Group
from cgmgr.manager import Manager

LAYOUT = os.environ.get("CGMGR_GUEST", "")
pytestmark = pytest.mark.skipif(not LAYOUT, reason="systemd is in the guests")
unified_only = pytest.mark.skipif(LAYOUT != "unified", reason="v1 is not delegated to users")
CGMGR = (sys.executable, "-m", "cgmgr")
DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)


def shows(unit: str, name: str) -> str:
    return output("systemctl", "show", "--value", "-p", name, unit)


@pytest.fixture
def name(run_token: str) -> str:
    return f"{run_token}-unit"


@pytest.fixture
def group(name: str) -> Iterator[Group]:
    with Manager(driver="systemd").create(name, properties=["RuntimeMaxSec=1h"]) as group:
        yield group


def unit_of(group: Group) -> str:
    return group.name.rpartition("/")[2]


def test_properties_of_a_unit(group: Group) -> None:
    assert shows(unit_of(group), "RuntimeMaxUSec") == "1h"
    group.update(properties=["ManagedOOMSwap=kill"], cpus=0.5)
    assert shows(unit_of(group), "ManagedOOMSwap") == "kill"
    assert shows(unit_of(group), "CPUQuotaPerSecUSec") == "500ms"


def test_a_property_that_is_only_taken_at_the_start_changes_nothing(group: Group) -> None:
    group.update(cpus=0.5)
    with pytest.raises(RequestError, match="RuntimeMaxUSec"):
        group.update(properties=["RuntimeMaxSec=2h"], cpus=0.25)
    assert shows(unit_of(group), "CPUQuotaPerSecUSec") == "500ms"
    assert group.diff() == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Xyzzy=1", "does not know a property Xyzzy"),
        ("RuntimeMaxSec=soon", "write a time"),
        ("SendSIGHUP=perhaps", "write yes or no"),
        ("KillMode=perhaps", "KillMode|Kill mode"),
    ],
)
def test_properties_that_are_refused_leave_nothing(text: str, complaint: str, name: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        Manager(driver="systemd").create(name, properties=[text])
    assert output("systemctl", "list-units", "--all", "--no-legend", f"cgmgr-{name}.scope") == ""


def test_a_name_that_somebody_else_has(name: str) -> None:
    unit = f"cgmgr-{name}.scope"
    argv = ["systemd-run", "--scope", "--slice=system.slice", f"--unit={unit}", "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as other:
        assert other.stderr is not None
        other.stderr.readline()  # it is running
        with pytest.raises(NameTaken):
            Manager(driver="systemd").create(name)
        assert shows(unit, "ActiveState") == "active"
        other.communicate(b"")
    assert other.returncode == 0


def test_a_group_of_the_other_driver_is_found_by_name(name: str) -> None:
    with Manager(driver="cgroupfs").create(name) as group:
        found = Manager(driver="systemd").open(name)
        assert (found.name, found.driver.name) == (group.name, "cgroupfs")
        assert ran(*CGMGR, "group", "get", name).returncode == 0


def test_names_that_are_listed_can_be_typed(group: Group, name: str) -> None:
    listed = output(*CGMGR, "group", "ls").splitlines()
    assert [line.split()[0] for line in listed if name in line] == [name]
    assert ran(*CGMGR, "group", "get", name).returncode == 0
    assert group.name != name


@pytest.mark.parametrize(
    ("words", "held"),
    [
        (["group", "run", "--temp", "-p", "TasksMax=7", "-p", "RuntimeMaxSec=1h", "--"], "7"),
        (["run", "-p", "TasksMax=7", "-p", "RuntimeMaxSec=1h", "host"], "7"),
    ],
    ids=["group-run", "run"],
)
def test_properties_of_a_command(words: list[str], held: str) -> None:
    controller = "" if LAYOUT == "unified" else "unified" if LAYOUT == "mixed" else "pids"
    own = f"/sys/fs/cgroup/{controller}"
    script = f"cat {own}$(sed -n 's/^0:://p;/:pids:/{{s/.*:pids://p}}' /proc/self/cgroup | tail -1)"
    if words[0] == "run":
        script = "cat $(find /sys/fs/cgroup -name pids.max 2>/dev/null | head -1)"
    else:
        script += "/pids.max"
    done = ran(*CGMGR, *words, "sh", "-c", script)
    assert (done.returncode, done.stdout.strip()) == (0, held), done.stderr


def test_the_doctor_names_the_driver() -> None:
    (line,) = [line for line in output(*CGMGR, "doctor").splitlines() if "driver" in line][:1]
    assert "systemd: the system's systemd 252, by" in line


AS_USER = (
    *("setpriv", "--reuid=1000", "--regid=1000", "--init-groups"),
    *("env", "XDG_RUNTIME_DIR=/run/user/1000", "HOME=/tmp"),
)


def as_user(*words: str) -> subprocess.CompletedProcess[str]:
    """From a scope of the user's own systemd."""
    scope = ("systemd-run", "--user", "--scope", "-q", "-p", "Delegate=yes")
    return ran(*AS_USER, *scope, *CGMGR, *words)


@unified_only
def test_a_user_makes_groups_with_what_was_delegated(name: str) -> None:
    made = as_user("group", "create", name, "memory=64M", "pids=20")
    assert (made.returncode, made.stderr) == (0, "")
    try:
        script = "cat /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/memory.max"
        seen = as_user("group", "run", name, "--", "sh", "-c", script)
        assert (seen.returncode, seen.stdout, seen.stderr) == (0, "67108864\n", "")
        assert as_user("group", "set", name, "memory=32M").returncode == 0
    finally:
        gone = as_user("group", "rm", name)
    assert (gone.returncode, gone.stderr) == (0, "")


@unified_only
def test_a_user_is_told_how_to_be_given_a_controller(name: str) -> None:
    refused = as_user("group", "create", name, "cpuset=0")
    assert refused.returncode != 0
    assert "it was not delegated to" in refused.stderr
    assert DROP_IN in refused.stderr

    told = refused.stderr.partition("hint: ")[2]
    subprocess.run(["sh", "-ec", told], check=True)
    try:
        subprocess.run(["systemctl", "restart", "user@1000"], check=True)
        made = as_user("group", "create", name, "cpuset=0")
        assert (made.returncode, made.stderr) == (0, "")
        assert as_user("group", "rm", name).returncode == 0
    finally:
        Path(DROP_IN).unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "restart", "user@1000"], check=True)


@unified_only
def test_a_command_of_a_user_in_a_group_of_its_own() -> None:
    done = as_user("group", "run", "--temp", "pids=20", "--", "true")
    assert (done.returncode, done.stderr) == (0, "")


@unified_only
def test_a_user_who_comes_from_elsewhere_is_told_where_to_start(name: str) -> None:
    done = ran(*AS_USER, *CGMGR, "group", "run", "--temp", "pids=20", "--", "true")
    assert done.returncode == 125
    assert "no process can be moved from" in done.stderr
    assert "systemd-run --user --scope" in done.stderr
    listed = ran(*AS_USER, "systemctl", "--user", "list-units", "--no-legend", "cgmgr-*.scope")
    assert listed.stdout == ""


@unified_only
def test_cgmgr_run_of_the_library_as_a_user() -> None:
    script = "import cgmgr; print(cgmgr.run(['true'], pids=20).returncode)"
    scope = ("systemd-run", "--user", "--scope", "-q", "-p", "Delegate=yes")
    done = ran(*AS_USER, *scope, sys.executable, "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
