"""One module a controller, and the ordered table of them.

Law: a controller says WHAT a setting becomes (v1 files, v2 files, systemd properties) and parses
its statistics; it performs nothing. May import resources, stats, parse and the floor below;
never kernfs, a driver or a wing.

The table, which imports every controller, is loaded when it is first touched.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .table import TABLE, raw_rows

__all__ = ["TABLE", "raw_rows"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no {name}")
    from . import table

    value = globals()[name] = getattr(table, name)
    return value
