"""One request on top of another.

Law: pure; knows how records nest and which settings of the model stand in for one another, nothing
of what they mean to a host.
"""

from __future__ import annotations

from cgmgr.record import Record

from .model import KEYS, Cpu, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeVar

    R = TypeVar("R", bound=Record)


def merge_records(below: R, above: R) -> R:
    """`below` with what `above` says on top, field by field, keyed tuples entry by entry."""
    changes = {f: _merge(getattr(below, f), value) for f, value in above.set_fields().items()}
    if isinstance(above, Cpu) and isinstance(below, Cpu):
        _replace_share(below, above, changes)
    return below.replace(**changes) if changes else below


#: fields of `Cpu` that only go together
_SHARE = ("weight", "shares")


def _replace_share(below: Cpu, above: Cpu, changes: dict[str, Any]) -> None:
    """weight, shares and idle are one setting in three spellings: the last one said counts."""
    if above.idle:
        changes["weight"] = changes["shares"] = None
    elif above.weight is not None:
        changes["shares"] = above.shares
        if below.idle:
            changes["idle"] = False


def _merge(below: Any, above: Any) -> Any:
    """One field's value; None, a number and the device filter are replaced whole."""
    if isinstance(above, Record):
        return merge_records(below, above)
    if below and _keyed(above):
        return _merge_keyed(below, above)
    return above


def _keyed(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and type(value[0]) in KEYS  # pyright: ignore[reportUnknownArgumentType]


def _merge_keyed(below: tuple[Any, ...], above: tuple[Any, ...]) -> tuple[Any, ...]:
    key = KEYS[type(above[0])]
    entries = {getattr(entry, key): entry for entry in below}
    for entry in above:
        name = getattr(entry, key)
        entries[name] = merge_records(entries[name], entry) if name in entries else entry
    return tuple(entries.values())


def settings(resources: Record, prefix: str = "") -> dict[str, Any]:
    """Every setting that is said, by a name that is unique: "memory.max_bytes", "io.8:0.rbps"."""
    found: dict[str, Any] = {}
    for field, value in resources.set_fields().items():
        if isinstance(value, Record):
            found |= settings(value, f"{prefix}{field}.")
        elif _keyed(value):
            place = prefix if field == "devices" else f"{prefix}{field}."
            for entry in value:
                found |= _entry_settings(entry, place)
        else:
            found[prefix + field] = value
    return found


def _entry_settings(entry: Record, place: str) -> dict[str, Any]:
    fields = entry.set_fields()
    name = fields.pop(KEYS[type(entry)])
    return {f"{place}{name}.{field}": value for field, value in fields.items()}


def singles(resources: Resources) -> Iterator[Resources]:
    """Requests for one setting each, which merged in their order are the whole."""
    for field, value in resources.set_fields().items():
        for part in _single_values(value):
            said: dict[str, Any] = {field: part}
            yield Resources(**said)


def _single_values(value: Any) -> Iterator[Any]:
    if isinstance(value, Record):
        yield from _single_fields(value)
    elif _keyed(value):
        for entry in _single_entries(value):
            yield (entry,)
    else:
        yield value


def _single_fields(section: Record) -> Iterator[Record]:
    fields = section.set_fields()
    weight: dict[str, Any] = {name: fields.pop(name) for name in _SHARE if name in fields}
    if weight:  # one setting in two spellings
        yield type(section)(**weight)
    for field, value in fields.items():
        for part in _single_values(value):
            yield type(section)(**{field: part})


def _single_entries(entries: tuple[Record, ...]) -> Iterator[Record]:
    for entry in entries:
        key = KEYS[type(entry)]
        fields: dict[str, Any] = entry.set_fields()
        name = fields.pop(key)
        for field, value in fields.items():
            yield type(entry)(**{key: name, field: value})


def missing(asked: Record, held: Record) -> tuple[str, ...]:
    """The names of settings of `asked` that `held` has not, or holds to another value."""
    there = settings(held)
    return tuple(
        name for name, value in settings(asked).items() if name not in there or there[name] != value
    )
