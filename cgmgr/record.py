"""Records: frozen, slotted, keyword-only data, without the start-up cost of dataclasses.

Law: this module knows nothing of cgroups and imports nothing.  A record is made of annotated
fields; a field with a value in the class body is optional.  `check()` is the one hook: it runs at
the end of construction and raises what it does not accept.

Every module that defines records uses ``from __future__ import annotations``: the annotations are
then plain strings, which cost nothing and which all Python versions leave in the class namespace.
(`dataclasses` imports `inspect`, which alone is more than the whole start-up budget.)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_options: object) -> Callable[[type], type]:
        return lambda cls: cls


_set = object.__setattr__


class _RecordMeta(type):
    """Turn the annotated names of a class body into slots."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        own = [
            field
            for field, annotation in body.get("__annotations__", {}).items()
            if not str(annotation).startswith(("ClassVar", "typing.ClassVar"))
        ]
        defaults: dict[str, Any] = {}
        fields: list[str] = []
        for base in bases:
            fields += [f for f in getattr(base, "__fields__", ()) if f not in fields]
            defaults.update(getattr(base, "__defaults__", {}))
        inherited = set(fields)
        fields += [field for field in own if field not in inherited]
        defaults.update({field: body.pop(field) for field in own if field in body})
        body["__slots__"] = tuple(field for field in own if field not in inherited)
        body["__fields__"] = tuple(fields)
        body["__defaults__"] = defaults
        body["__match_args__"] = ()
        cls = super().__new__(mcs, name, bases, body)
        # The slots' own setters: past the refusing __setattr__, and the fastest way there is.
        cls.__setters__ = tuple((field, getattr(cls, field).__set__) for field in fields)  # type: ignore[attr-defined]
        return cls


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record(metaclass=_RecordMeta):
    """Base of all records.

    Construction takes keywords only and raises `TypeError` for an unknown or a missing field.
    Records of one type are equal when all fields are, and can be hashed when all fields can.
    """

    __fields__: ClassVar[tuple[str, ...]]
    __defaults__: ClassVar[dict[str, Any]]
    __setters__: ClassVar[tuple[tuple[str, Callable[[object, object], None]], ...]]

    if not TYPE_CHECKING:

        def __init__(self, **values: object) -> None:
            merged = {**self.__defaults__, **values}
            setters = self.__setters__
            if len(merged) != len(setters):
                raise TypeError(self._misfit(values))
            try:
                for field, put in setters:
                    put(self, merged[field])
            except KeyError:
                raise TypeError(self._misfit(values)) from None
            self.check()

    def _misfit(self, values: dict[str, object]) -> str:
        """Why these values make no record of this type."""
        kind, fields = type(self).__name__, self.__fields__
        unknown = sorted(set(values) - set(fields))
        if unknown:
            return f"{kind} has no field {', '.join(unknown)}"
        missing = [f for f in fields if f not in values and f not in self.__defaults__]
        return f"{kind} needs {', '.join(missing)}"

    def check(self) -> None:
        """Refuse values that no host could hold.  Raises `cgmgr.errors.RequestError`."""

    def _settle(self, field: str, value: object) -> None:
        """For `check` alone: put the canonical form of what was given in its place."""
        _set(self, field, value)

    def replace(self, **changes: object) -> Self:
        """The same record with other values in some fields."""
        return type(self)(**({field: getattr(self, field) for field in self.__fields__} | changes))

    def set_fields(self) -> dict[str, Any]:
        """The fields whose value is not the default, in their order."""
        defaults = self.__defaults__
        values = {field: getattr(self, field) for field in self.__fields__}
        return {
            field: value
            for field, value in values.items()
            if field not in defaults or value != defaults[field]
        }

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen, use replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen, {name} stays")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self.__fields__)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, field) for field in self.__fields__)))

    def __bool__(self) -> bool:
        """Whether anything is said: some field differs from its default."""
        return bool(self.set_fields())

    def __repr__(self) -> str:
        inside = ", ".join(f"{field}={value!r}" for field, value in self.set_fields().items())
        return f"{type(self).__name__}({inside})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), {field: getattr(self, field) for field in self.__fields__})


def _rebuild(cls: type[Record], values: dict[str, Any]) -> Record:
    return cls(**values)
