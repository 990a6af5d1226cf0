"""cgmgr: say what a workload may use; the kernel holds it to that, and you learn what happened.

Law: public names only, loaded on first use (PEP 562), so that `import cgmgr` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.group import Group
    from cgmgr.host import Host
    from cgmgr.manager import Manager, arun, run
    from cgmgr.policy import Policy
    from cgmgr.resources import Resources
    from cgmgr.result import Result
    from cgmgr.units import MAX

__version__ = "0.1.0"

_PLACES = {
    "CgmgrError": "cgmgr.errors",
    "Group": "cgmgr.group",
    "Host": "cgmgr.host",
    "MAX": "cgmgr.units",
    "Manager": "cgmgr.manager",
    "Policy": "cgmgr.policy",
    "Resources": "cgmgr.resources",
    "Result": "cgmgr.result",
    "arun": "cgmgr.manager",
    "run": "cgmgr.manager",
}

__all__ = [
    "MAX",
    "CgmgrError",
    "Group",
    "Host",
    "Manager",
    "Policy",
    "Resources",
    "Result",
    "arun",
    "run",
]


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'cgmgr' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
