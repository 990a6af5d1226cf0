"""What of a request this host can hold.

Law: pure.  A setting that cannot be held is left out, with the reason; all others stay.  A setting
that cannot be held beside those before it is left out too, so that no combination fails as a whole.
What no host could hold is not this module's: it is refused when the rest is compiled.
"""

from __future__ import annotations

from cgmgr.errors import HostError, RequestError
from cgmgr.resources import Resources
from cgmgr.resources.merge import singles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.controllers.base import Controller, Scene


def holdable(
    controller: Controller, resources: Resources, scene: Scene
) -> tuple[Resources, list[HostError]]:
    """The request without what this host cannot hold, and why not."""
    held = Resources()
    refused: list[HostError] = []
    for single in singles(resources):
        together = held.merge(single)
        reason = _refusal(controller, together, scene)
        if reason is None:
            held = together
        else:
            refused.append(reason)
    return held, refused


def _refusal(controller: Controller, resources: Resources, scene: Scene) -> HostError | None:
    try:
        controller.rows(resources, scene)
    except HostError as error:
        return error
    except RequestError:
        return None  # part of a request may be what the whole is not
    return None
