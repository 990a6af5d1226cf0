"""`linux.resources` of the OCI runtime specification (1.2), both ways.

Law: the way in is `oci_read`, the way out `oci_write`; here is what needs both.  Out and in again
is the identity but for three losses: a limit of -1 on memory alone lifts swap too (`limit` and
`swap` cannot say otherwise), a soft limit and a realtime runtime of 0 are "not said", and what the
specification has no place for (`frozen`, `perf_event`) is named by `unexpressed`.  A raw file that
is just what a setting is written as comes back as that setting.
"""

from __future__ import annotations

from .merge import missing
from .oci_read import check_before_update, from_oci
from .oci_write import to_oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Resources

__all__ = ["check_before_update", "from_oci", "to_oci", "unexpressed"]


def unexpressed(resources: Resources) -> tuple[str, ...]:
    """The settings that the specification cannot say, not even through `unified`."""
    return missing(resources, from_oci(to_oci(resources)))
