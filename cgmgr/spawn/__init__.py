"""Start a process inside groups: no instruction of it runs outside.

Law: the public names only, loaded on first use (PEP 562), because the spawner's own process imports
from here too and must stay small.

What may be asked for is in `request`; how that is put to the spawner in `birth`, with its standard
streams from `plumbing` and over a socket of `channel`, and what went wrong in `failure`; how the
spawner is had in `link`, and from what file in `interpreter`; the protocol in `spawner`; what the
spawner does in `cloner` and `newborn`; what becomes of the process in `process`,
`aprocess` and `streams`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .aprocess import AsyncProcess
    from .link import shutdown
    from .plumbing import DEVNULL, PIPE, STDOUT
    from .process import Ended, Process
    from .request import Placement, SpawnRequest, astart_as, start, start_as

_PLACES = {
    "AsyncProcess": "aprocess",
    "DEVNULL": "plumbing",
    "PIPE": "plumbing",
    "STDOUT": "plumbing",
    "Ended": "process",
    "Placement": "request",
    "Process": "process",
    "SpawnRequest": "request",
    "astart_as": "request",
    "shutdown": "link",
    "start": "request",
    "start_as": "request",
}

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncProcess",
    "Ended",
    "Placement",
    "Process",
    "SpawnRequest",
    "astart_as",
    "shutdown",
    "start",
    "start_as",
]


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'cgmgr.spawn' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"cgmgr.spawn.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
