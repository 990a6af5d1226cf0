"""A scope from its start to its end, over a bus; also as a program for another user to run.

Run: python -m tests.conformance.bus_scope (system|user) TRANSPORT [ROOT].  It prints the path of
the scope's cgroup.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from cgmgr.drivers import bus
from cgmgr.drivers.bus import MANAGER, MANAGER_PATH, PROPERTIES, BusError

NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
SCOPE = "org.freedesktop.systemd1.Scope"


def ask(connected: bus.Bus, member: str, signature: str = "", *args: Any) -> tuple[Any, ...]:
    return connected.call(MANAGER_PATH, MANAGER, member, signature, args)


def start(connected: bus.Bus, unit: str, pid: int) -> str:
    properties: list[tuple[str, bus.Value]] = [
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("TasksMax", ("t", 7)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    return connected.job("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "fail", properties, []))


def stop(connected: bus.Bus, unit: str) -> str:
    return connected.job("StopUnit", "ss", (unit, "replace"))


def error_of(connected: bus.Bus, member: str, unit: str) -> str:
    try:
        ask(connected, member, "s", unit)
    except BusError as error:
        return error.name
    return ""


def round_trip(connected: bus.Bus, unit: str) -> str:
    """Start a scope, look at it, fail to start it twice, change it, stop it; its cgroup's path."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        try:
            assert error_of(connected, "GetUnit", unit) == NO_SUCH_UNIT
            assert start(connected, unit, process.pid) == "done"
            (path,) = ask(connected, "GetUnit", "s", unit)
            (found,) = connected.call(path, PROPERTIES, "Get", "ss", (SCOPE, "ControlGroup"))
            assert found[0] == "s"
            assert found[1].endswith(f"/{unit}")
            with open(f"/proc/{process.pid}/cgroup") as lines:  # noqa: PTH123
                assert found[1] in lines.read()
            try:
                start(connected, unit, os.getpid())
            except BusError as error:
                assert error.name == UNIT_EXISTS
            else:
                raise AssertionError("the unit was started twice")
            wanted = [("TasksMax", ("t", 5))]
            assert ask(connected, "SetUnitProperties", "sba(sv)", unit, True, wanted) == ()
            tasks = connected.call(path, PROPERTIES, "Get", "ss", (SCOPE, "TasksMax"))
            assert tasks == (("t", 5),)
            everything = connected.call(path, PROPERTIES, "GetAll", "s", (SCOPE,))[0]
            assert everything["TasksMax"] == ("t", 5)
            assert isinstance(everything["AllowedCPUs"][1], bytes)
            assert stop(connected, unit) == "done"
            assert process.wait() == -15
        finally:
            process.kill()
    assert error_of(connected, "GetUnit", unit) == NO_SUCH_UNIT
    place: str = found[1]
    return place


def main(kind: str, transport: str, root: str = "/") -> None:
    connected = bus.connect(root, user=kind == "user", transport=transport)
    unit = f"cgmgr-bus-{kind}-{transport}-{os.getpid()}.scope"
    print(round_trip(connected, unit))  # noqa: T201
    connected.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
