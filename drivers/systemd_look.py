"""What the systemd driver looks at before it says anything.

Law: reads only, of files and of systemd.  Where a unit's processes are, and what it has now, as one
`Seen`; a plan depends on nothing else.
"""

from __future__ import annotations

from cgmgr import kernfs
from cgmgr.driver import Observed, Request
from cgmgr.errors import RequestError

from . import systemd_sent as sent
from . import units
from .systemd_steps import KEEPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .cgroupfs import Cgroupfs
    from .systemd1 import Property, Systemd1

PAYLOAD: Final = "payload"
#: systemd's own
INIT: Final = "/init.scope"


class Seen(Observed):
    """What was seen of a unit; `inner` is the group that holds its processes, `keeper` the leaf
    beside it, as the cgroupfs driver sees them."""

    unit: units.Unit
    ours: bool = True
    inner: Observed
    keeper: Observed | None = None
    version: int = 0
    properties: tuple[Property, ...] = ()
    """what is asked of the unit beside its resources, and in `previous` what that is now"""
    previous: tuple[Property, ...] = ()


class SystemdLook:
    """The reads of one host's units; `files` is the driver of the groups below them."""

    def __init__(self, files: Cgroupfs, systemd: Systemd1) -> None:
        self._files = files
        self.systemd = systemd

    def observe(self, request: Request) -> Observed:
        unit = _unit(request.group)
        if unit is None:
            return self._files.observe(request)
        here = tuple(self._files.paths(unit.path))
        ours = self._ours(unit, new=not here)
        if request.removal and not ours and unit.kind == units.SCOPE_KIND:
            ours = self._half_made(unit)
        place = kernfs.join(unit.path, PAYLOAD) if ours else unit.path
        inner = self._files.observe(request.replace(group=place))
        keeper = None
        if ours and not here:
            leaf = Request(group=kernfs.join(unit.path, KEEPER))
            keeper = self._files.observe(leaf)
        missing = {
            key: tuple(name for name in names if name != unit.path)
            for key, names in inner.missing.items()
        }
        properties = self._properties(request, unit)
        return Seen(
            group=unit.path,
            here=here,
            missing=missing,
            scenes=inner.scenes,
            skipped=inner.skipped,
            place=place,
            unit=unit,
            ours=ours,
            inner=inner,
            keeper=keeper,
            version=0 if request.removal else self.systemd.version,
            properties=properties,
            previous=self._values(unit, properties) if here else (),
        )

    def _properties(self, request: Request, unit: units.Unit) -> tuple[Property, ...]:
        """What is asked beside resources, of the types that this systemd has."""
        if not request.properties:
            return ()
        from .systemd_any import property_of

        known, version = self.systemd.signatures(unit.name), self.systemd.version
        return tuple(property_of(text, known, version) for text in request.properties)

    def _values(self, unit: units.Unit, properties: tuple[Property, ...]) -> tuple[Property, ...]:
        names = [name for name, _, _ in properties]
        return tuple(self.systemd.values(unit.name, names)) if names else ()

    def paths(self, group: str) -> dict[str, str]:
        found = self._files.paths(group)
        unit = _unit(group)
        if not found or unit is None or not self._ours(unit, new=False):
            return found
        return {key: kernfs.join(path, PAYLOAD) for key, path in found.items()}

    def children(self, parent: str) -> list[str]:
        unit = _unit(parent)
        if unit is not None and self._ours(unit, new=False):
            return self._files.children(kernfs.join(parent, PAYLOAD))
        return [name for name in self._files.children(parent) if name != INIT]

    def _ours(self, unit: units.Unit, *, new: bool) -> bool:
        """Whether processes are in a leaf of it: in a scope that we made."""
        if unit.kind != units.SCOPE_KIND:
            return False
        # the first leaf that is made, and the last to go; others have a "payload", too (nspawn)
        return new or bool(self._files.paths(kernfs.join(unit.path, KEEPER)))

    def _half_made(self, unit: units.Unit) -> bool:
        """Whether a scope without leaves is what is left of one that we were making: systemd has
        it by our name for it, or no more.  In this order: it may go meanwhile."""
        if self.systemd.description(unit.name) == sent.description(unit):
            return True
        return self.systemd.state(unit.name) in ("inactive", "failed")


def _unit(group: str) -> units.Unit | None:
    """The unit whose own group it is; None for one below a unit, and for one that somebody made
    beside systemd: there is only a directory."""
    try:
        return units.unit_of(group)
    except RequestError:
        return None
