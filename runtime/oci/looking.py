"""What containers are, for `state`, `list` and `ps`.

Law: reads; the shapes are those of the specification and of runc, whose readers are the clients.

Source: runtime.md "State"; runc list and ps.
"""

from __future__ import annotations

import time

from cgmgr.errors import CgmgrError, HostError

from .home import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from cgmgr.runtime.state import ContainerRecord

    from .home import Home

SPECIFICATION: Final = "1.2.0"


def state(name: str, home: Home) -> dict[str, Any]:
    """A container's state."""
    return _state(home.need(name), home)


def states(home: Home) -> list[dict[str, Any]]:
    """Those of all containers of this root, by name."""
    found = [_state(record, home) for record in home.containers.records()]
    return sorted(found, key=lambda one: str(one["id"]))


def _state(record: ContainerRecord, home: Home) -> dict[str, Any]:
    status = home.status(record)
    try:
        annotations = home.config(record.id).get("annotations")
    except CgmgrError:  # made by `cgmgr run`, or half gone
        annotations = None
    found: dict[str, Any] = {
        "ociVersion": SPECIFICATION,
        "id": record.id,
        "pid": 0 if status == STOPPED or record.init is None else record.init.pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": stamp(record.created_usec),
        "owner": "",
    }
    if annotations:
        found["annotations"] = annotations
    return found


def stamp(usec: int) -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    seconds, rest = divmod(usec, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:06d}000Z"


def pids(name: str, home: Home) -> list[int]:
    """The processes of a container, as they are numbered here."""
    from .living import group_of

    record = home.need(name)
    group = group_of(record, home)
    if group is None:
        return []
    return group.pids(recursive=True)


def as_json(value: object) -> str:
    import json

    return json.dumps(value)


def table(found: Sequence[dict[str, Any]]) -> str:
    """As runc's `list`."""
    heads = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
    rows = [heads, *(tuple(str(one[head.lower()]) for head in heads) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ("   ".join(text.ljust(widths[i]) for i, text in enumerate(row)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def ps(wanted: Sequence[int], options: Sequence[str]) -> str:
    """What ps(1) says of some processes; `options` are its own, -ef by default."""
    import subprocess

    argv = ["ps", *(options or ("-ef",))]
    try:
        shown = subprocess.run(argv, capture_output=True, check=False, text=True)
    except OSError as error:
        raise HostError(
            f"ps: {(error.strerror or '').lower()}",
            operation="show processes",
            path="ps",
            errno=error.errno,
            hint="apt-get install procps",
        ) from error
    head, *rows = shown.stdout.splitlines() or [""]
    column = head.split().index("PID") if "PID" in head.split() else -1
    if shown.returncode or column < 0:
        raise HostError(
            f"ps {' '.join(argv[1:])}: {shown.stderr.strip() or 'no column PID'}",
            operation="show processes",
            path="ps",
        )
    there = {str(pid) for pid in wanted}
    return "\n".join([head, *(row for row in rows if row.split()[column] in there)])
