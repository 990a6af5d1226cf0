"""A driver as somebody else would write one: found by its entry point, with names and places of its
own.

Law: uses what cgmgr documents for drivers, and nothing else of it.  A group "web/api" is the
directory "outside/web+api" in every hierarchy: all groups lie beside one another, whatever their
names say.
"""

from __future__ import annotations

from cgmgr.driver import Observed, Request, plain_name
from cgmgr.drivers.cgroupfs import Cgroupfs
from cgmgr.errors import RequestError
from cgmgr.host import Host
from cgmgr.plan import Plan

PARENT = "/outside"


class Outside:
    """See `cgmgr.driver.Driver`."""

    name = "outside"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.parent = PARENT
        self._files = Cgroupfs(host)

    def full_name(self, said: str) -> str:
        within = said.removeprefix(f"{PARENT}/")
        if within.startswith("/"):
            raise RequestError(
                f"invalid group name {said!r}: groups of this driver are below {PARENT}",
                operation="name group",
                value=said,
            )
        return plain_name(f"{PARENT}/{within.replace('/', '+')}")

    def observe(self, request: Request) -> Observed:
        return self._files.observe(request)

    def create(self, request: Request, observed: Observed) -> Plan:
        return self._files.create(request, observed)

    def update(self, request: Request, observed: Observed) -> Plan:
        return self._files.update(request, observed)

    def remove(self, request: Request, observed: Observed) -> Plan:
        return self._files.remove(request, observed)

    def attach(self, request: Request, observed: Observed) -> Plan:
        return self._files.attach(request, observed)

    def paths(self, group: str) -> dict[str, str]:
        return self._files.paths(group)

    def children(self, parent: str) -> list[str]:
        return self._files.children(parent)
