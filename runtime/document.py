"""Values of a JSON document, of the type that they should be.

Law: pure; knows no document in particular.  What is absent or null is the empty value; what is of
another type is a `RequestError` that names it.
"""

from __future__ import annotations

from cgmgr.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Object = Mapping[str, Any]


def objects(parent: Object, key: str) -> list[Object]:
    """A list of objects."""
    values: list[Any] = _value(parent, key, list) or []
    for value in values:
        if type(value) is not dict:
            raise wrong(key, f"{value!r} is no object")
    return values


def object_(parent: Object, key: str) -> Object:
    """An object."""
    value: Object = _value(parent, key, dict) or {}
    return value


def texts(parent: Object, key: str) -> tuple[str, ...]:
    """A list of strings."""
    values: list[Any] = _value(parent, key, list) or []
    for value in values:
        if type(value) is not str or "\0" in value:
            raise wrong(key, f"{value!r} is no text")
    return tuple(values)


def text(parent: Object, key: str) -> str:
    """A string."""
    value: str = _value(parent, key, str) or ""
    if "\0" in value:
        raise wrong(key, "it contains a NUL")
    return value


def flag(parent: Object, key: str) -> bool:
    """True or false."""
    return bool(_value(parent, key, bool))


def number(parent: Object, key: str) -> int | None:
    """A whole number, None where there is none."""
    value: int | None = _value(parent, key, int)
    return value


def numbers(parent: Object, key: str) -> tuple[int, ...]:
    """A list of whole numbers."""
    values: list[Any] = _value(parent, key, list) or []
    for value in values:
        if type(value) is not int:
            raise wrong(key, f"{value!r} is no whole number")
    return tuple(values)


def wrong(name: str, reason: str) -> RequestError:
    """The error for a value of config.json."""
    return RequestError(f"config.json: {name}: {reason}", operation="read config", value=name)


def _value(parent: Object, key: str, kind: type) -> Any:
    value = parent.get(key)
    if value is not None and type(value) is not kind:
        raise wrong(key, f"{value!r} is no {_NAMES[kind]}")
    return value


_NAMES = {list: "list", dict: "object", str: "text", bool: "true or false", int: "whole number"}
