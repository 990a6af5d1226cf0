"""`update`: other limits for a container, from a document or from options.

Law: both become the specification's linux.resources, and one reader makes them what is asked; the
group holds all of it or nothing.

Source: runc update(8), whose options are docker's numbers without units.
"""

from __future__ import annotations

import sys

from cgmgr.errors import HostError, NoSuchGroup
from cgmgr.resources.oci import from_oci

from . import living
from .home import STOPPED
from .making import MOST_BYTES, parsed, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .grammar import Invocation
    from .home import Home

#: option -> where its number goes in linux.resources
_NUMBERS: Final = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-share": ("cpu", "shares"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS: Final = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SIZES: Final = ("memory", "memory-reservation", "memory-swap")
STDIN: Final = "-"


def update(call: Invocation, home: Home) -> None:
    """Change what a container may use.  Raises what `Group.update` raises."""
    record = home.need(call.args[0])
    with home.containers.lock(record.id):
        status = home.status(record)
        if status == STOPPED:
            raise living.refused("update", record.id, status, "container not running")
        group = living.group_of(record, home)
        if group is None:
            raise NoSuchGroup(
                f"container {record.id} has no group any more",
                operation="update container",
                value=record.id,
            )
        group.update(from_oci(asked(call)))


def asked(call: Invocation) -> dict[str, Any]:
    """The linux.resources that an invocation asks for.  Devices stay as they are, as in runc: a
    client that changes a limit sends the rest along."""
    path = call.text("resources")
    found = _document(path) if path else {}
    for option, (part, field) in (*_NUMBERS.items(), *_TEXTS.items()):
        text = call.text(option)
        if text:
            # a part that is no object is the reader's to refuse
            section = found.setdefault(part, {})
            if isinstance(section, dict):
                section[field] = text if option in _TEXTS else _number(call, option)
    return {key: value for key, value in found.items() if key != "devices"}


def _number(call: Invocation, option: str) -> int:
    text = call.text(option)
    if option in _SIZES and text != "-1" and not text.isdigit():
        from cgmgr.units import parse_bytes

        return parse_bytes(text)
    return call.number(option, 0)


def _document(path: str) -> dict[str, Any]:
    if path != STDIN:
        return parsed(read(path), path)
    try:
        text = sys.stdin.buffer.read(MOST_BYTES)
    except OSError as error:
        raise HostError(
            f"standard input: {(error.strerror or '').lower()}", operation="read resources"
        ) from error
    return parsed(text, "standard input")
