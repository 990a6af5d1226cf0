"""The v1 device filter: what `device_rules` says of the kernel, asked of the kernel."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgmgr.controllers.device_rules import (
    ALLOW,
    DENY,
    Table,
    parse_list,
    target,
)
from cgmgr.controllers.device_rules import written as after
from cgmgr.errors import CgmgrError, GroupBusy, RequestError
from cgmgr.host import Host
from cgmgr.resources import DeviceRule, Resources
from tests.controllers.saying import everything, rules

from .real import RealGroup, real_group, refused

MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
#: devices that every machine has, and that can be opened without harm
NODES = {"/dev/null": (1, 3), "/dev/zero": (1, 5), "/dev/tty": (5, 0)}
NUMBERS = itertools.count()
WAYS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}

_ASKER = """
import os, sys
open(sys.argv[1], "w").write("0")
print("there", flush=True)
for line in sys.stdin:
    path, flags = line.split()
    try:
        os.close(os.open(path, int(flags) | os.O_NOCTTY))
        print(0, flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.fixture
def group(run_token: str) -> Iterator[RealGroup]:
    host = Host.detect()
    held = host.holder("devices")
    if held is None or held.version != 1:
        pytest.skip("devices has no v1 hierarchy here")
    with real_group(host, "devices", f"{run_token}-devices") as made:
        yield made


class Asker:
    """A process in the group that tries to open devices."""

    def __init__(self, directory: Path) -> None:
        argv = [sys.executable, "-I", "-S", "-c", _ASKER, str(directory / "cgroup.procs")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
        assert self._line() == "there"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def may(self, path: str, way: str) -> bool:
        assert self.process.stdin is not None
        print(path, WAYS[way], file=self.process.stdin, flush=True)
        number = int(self._line())
        return number != 1  # EPERM; /dev/tty is ENXIO without a terminal

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def asker(group: RealGroup) -> Iterator[Asker]:
    process = Asker(group.directory)
    yield process
    process.close()


def write_both(
    group: RealGroup, table: Table, parent: Table | None, steps: Iterable[DeviceRule]
) -> Table:
    """Write the rules to the kernel and to the model; both refuse the same."""
    for rule in steps:
        file = ALLOW if rule.allow else DENY
        try:
            expected: Table | int = after(table, parent, file, rule)
        except OSError as error:
            expected = error.errno or -1
        try:
            group.write(file, str(rule))
            number = 0
        except OSError as error:
            number = error.errno or -1
        assert number == (expected if isinstance(expected, int) else 0), (rule, table)
        if isinstance(expected, Table):
            table = expected
        assert sorted(group.read("devices.list").splitlines()) == sorted(str(table).splitlines())
    return table


steps = st.lists(st.one_of(rules, rules, rules, everything), max_size=8)


@MANY
@given(mine=steps)
def test_the_kernel_makes_the_same_of_every_write_and_asks_the_same_of_every_open(
    group: RealGroup, asker: Asker, mine: list[DeviceRule]
) -> None:
    group.write(ALLOW, "a")
    table = write_both(group, Table(), Table(), mine)
    for path, (major, minor) in NODES.items():
        for way in WAYS:
            assert asker.may(path, way) == table.permits(("c", major, minor), way), (path, way)


@MANY
@given(above=steps, below=steps)
def test_a_group_below_another(
    group: RealGroup, above: list[DeviceRule], below: list[DeviceRule]
) -> None:
    # a new one for each: a removed child still counts for a moment
    upper = group.child(f"upper-{next(NUMBERS)}")
    try:
        parent = write_both(upper, Table(), Table(), above)
        write_both(upper.child("lower"), parent, parent, below)
    finally:
        upper.remove()


def permitted(table: Table) -> set[tuple[str, str]]:
    return {
        (path, way)
        for path, (major, minor) in NODES.items()
        for way in WAYS
        if table.permits(("c", major, minor), way)
    }


@MANY
@given(requests=st.lists(st.lists(rules, max_size=5), min_size=1, max_size=3))
def test_a_request_is_held_and_taken_back(
    group: RealGroup, asker: Asker, requests: list[list[DeviceRule]]
) -> None:
    group.write(ALLOW, "a")
    group.fresh = False
    for request in requests:
        resources = Resources(devices=tuple(request))
        before = parse_list(group.read("devices.list"))
        try:
            undo = group.hold(resources)
        except RequestError as error:
            assert "would make a hole" in str(error)
            assert parse_list(group.read("devices.list")) == before
            continue
        undo()
        assert permitted(parse_list(group.read("devices.list"))) == permitted(before)
        group.hold(resources)
        wanted = target(request)
        may = {(path, way) for path in NODES for way in WAYS if asker.may(path, way)}
        assert may == permitted(wanted)
        assert group.rows(resources) == []


def test_what_both_filters_allow_is_never_denied(group: RealGroup, asker: Asker) -> None:
    null, zero, tty = (DeviceRule(kind="c", major=a, minor=b) for a, b in NODES.values())
    group.hold(Resources(devices=(null, zero)))
    for row in group.rows(Resources(devices=(zero, tty))):
        group.write(row.file, row.value)
        assert asker.may("/dev/zero", "rw")
    assert not asker.may("/dev/null", "r")


def test_more_than_the_parent_is_allowed(group: RealGroup) -> None:
    group.hold(Resources(devices=(DeviceRule(kind="c", major=1, minor=3),)))
    child = group.child("child")
    request = Resources(devices=(DeviceRule(kind="c", major=1, minor=5),))
    error = refused(lambda: child.hold(request))
    assert isinstance(error, RequestError)
    assert f"{group.directory} is allowed only: c 1:3 rwm" in str(error)
    assert child.read("devices.list") == "c 1:3 rwm"


def test_more_than_a_parent_denies_unseen(group: RealGroup) -> None:
    group.write(DENY, "c 1:5 rwm")  # devices.list says nothing of it
    child = group.child("child")
    request = Resources(devices=(DeviceRule(kind="c", major=1, minor=5),))
    error = refused(lambda: child.hold(request))
    assert isinstance(error, CgmgrError)
    assert "the group above is not allowed as much" in str(error)


def test_the_default_of_a_group_with_children_stays(group: RealGroup) -> None:
    group.hold(Resources(devices=(DeviceRule(kind="a"),)))
    group.child("child")
    error = refused(lambda: group.hold(Resources(devices=())))
    assert isinstance(error, GroupBusy)
    assert error.hint == f"find {error.path} -mindepth 1 -type d"


def test_back_to_allowing_everything_and_taken_back(group: RealGroup) -> None:
    rules_now = tuple(DeviceRule(kind="c", major=a, minor=b) for a, b in NODES.values())
    group.hold(Resources(devices=rules_now))
    before = sorted(group.read("devices.list").splitlines())
    undo = group.hold(Resources(devices=(DeviceRule(kind="a"),)))
    assert group.read("devices.list") == "a *:* rwm"
    undo()
    assert sorted(group.read("devices.list").splitlines()) == before
