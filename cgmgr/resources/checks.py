"""What the records of the model refuse, whatever the host.

Law: functions that raise `RequestError` or return; they know types and ranges, and no setting.
Nothing is converted: a number is an int, never a string of digits, a float or a bool.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from cgmgr.record import Record

    R = TypeVar("R", bound=Record)

    #: least, most, and whether `MAX` is taken too
    Range = tuple[int, int, bool]


def refuse(name: str, value: object, wanted: str) -> RequestError:
    """The one form of a complaint about a setting."""
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    return RequestError(
        f"{name} is {shown}, and must be {wanted}", operation=f"set {name}", value=str(value)
    )


def ranges(record: Record, table: Mapping[str, Range], prefix: str, suffix: str = "") -> None:
    """Check the fields of `table`; the name in a message is PREFIX, the field, SUFFIX."""
    for field, (least, most, takes_max) in table.items():
        value = getattr(record, field)
        if value is None or (takes_max and isinstance(value, Max)):
            continue
        if type(value) is not int or not least <= value <= most:
            wanted = f"a whole number from {least} to {most}" + (" or MAX" if takes_max else "")
            raise refuse(f"{prefix}{field}{suffix}", value, wanted)


def flags(record: Record, fields: tuple[str, ...], prefix: str) -> None:
    """Check that fields are True, False or None."""
    for field in fields:
        value = getattr(record, field)
        if value is not None and type(value) is not bool:
            raise refuse(f"{prefix}{field}", value, "True or False")


def name(what: str, value: object, forbidden: str, most: int = 255) -> None:
    """Check a name that becomes part of a line in a kernel file: no space, none of `forbidden`."""
    wanted = f"1 to {most} bytes without spaces" + (f" or {forbidden}" if forbidden else "")
    if not isinstance(value, str) or not 0 < len(value.encode("utf-8", "surrogateescape")) <= most:
        raise refuse(what, value, wanted)
    if any(c.isspace() or not c.isprintable() or c in forbidden for c in value):
        raise refuse(what, value, wanted)


def ids(what: str, value: tuple[int, ...] | None, most: int) -> None:
    """Check sorted ids, at least one, as `cgmgr.units.parse_id_list` gives them."""
    if value is None:
        return
    if type(value) is not tuple or not value or not _ascending(value, most):
        raise refuse(what, value, f"a tuple of sorted ids from 0 to {most}, at least one")


def _ascending(values: tuple[int, ...], most: int) -> bool:
    last = -1
    for number in values:
        if type(number) is not int or not last < number <= most:
            return False
        last = number
    return True


def text(what: str, value: object) -> None:
    """Check text that is written to a kernel file as it stands."""
    if not isinstance(value, str) or "\0" in value:
        raise refuse(what, value, "text without NUL")


def something(entry: Record, what: str, name: str) -> None:
    """Check that an entry sets anything: else it would be lost on every way out and in again."""
    if all(getattr(entry, field) is None for field in entry.__fields__[1:]):
        raise RequestError(f"nothing is said of {what} {name}", operation=f"set {what}", value=name)


def entries(
    what: str, values: Iterable[R], kind: type[R], key: Callable[[R], object]
) -> tuple[R, ...]:
    """The entries of a setting that has one for each key: sorted, each key once."""
    found: dict[object, R] = {}
    for value in values:
        if type(value) is not kind:
            raise refuse(what, value, f"made of {kind.__name__}")
        if key(value) in found:
            raise refuse(what, value, "said once a name")
        found[key(value)] = value
    return tuple(found[order] for order in sorted(found))  # type: ignore[type-var]
