"""Reading a JSON document with complaints that name the place.

Law: types only.  What is null is absent, as in Go's decoder; a field that nobody asks for is never
looked at, so unknown ones are ignored.  Nothing here knows what the document is about.
"""

from __future__ import annotations

from cgmgr.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Node:
    """One object of a document, and where it is."""

    def __init__(self, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise self.complaint(path, value, "an object")
        self.path = path
        self._fields: dict[str, Any] = value

    @staticmethod
    def complaint(path: str, value: Any, wanted: str) -> RequestError:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        return RequestError(
            f"{path} is {shown}, and must be {wanted}", operation=f"read {path}", value=str(value)
        )

    def keys(self) -> Iterator[str]:
        return iter(self._fields)

    def has(self, key: str) -> bool:
        return self._fields.get(key) is not None

    def at(self, key: str) -> str:
        """The path of a field."""
        return f"{self.path}.{key}"

    def node(self, key: str) -> Node:
        """An object; an empty one where it is absent."""
        return Node(self._fields[key] if self.has(key) else {}, self.at(key))

    def nodes(self, key: str) -> Iterator[Node]:
        """The objects of an array, none where it is absent."""
        values: list[Any] = self._fields[key] if self.has(key) else []
        if not _is_list(values):
            raise self.complaint(self.at(key), values, "an array")
        for index, value in enumerate(values):
            yield Node(value, f"{self.at(key)}[{index}]")

    def whole(self, key: str, least: int, most: int) -> int | None:
        """A whole number within bounds."""
        value = self._fields.get(key)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise self.complaint(self.at(key), value, f"a whole number from {least} to {most}")
        return value

    def boolean(self, key: str) -> bool | None:
        value = self._fields.get(key)
        if value is not None and type(value) is not bool:
            raise self.complaint(self.at(key), value, "true or false")
        return value

    def text(self, key: str) -> str | None:
        value = self._fields.get(key)
        if value is not None and not _is_text(value):
            raise self.complaint(self.at(key), value, "a string without NUL")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The strings of an array, none where it is absent."""
        return tuple(self._values(key, _is_text, "a string without NUL"))

    def wholes(self, key: str, least: int, most: int) -> tuple[int, ...]:
        """The whole numbers of an array, none where it is absent."""

        def fits(value: Any) -> bool:
            return type(value) is int and least <= value <= most

        return tuple(self._values(key, fits, f"a whole number from {least} to {most}"))

    def _values(self, key: str, fits: Callable[[Any], bool], wanted: str) -> list[Any]:
        values: list[Any] = self._fields[key] if self.has(key) else []
        if not _is_list(values):
            raise self.complaint(self.at(key), values, "an array")
        for index, value in enumerate(values):
            if not fits(value):
                raise self.complaint(f"{self.at(key)}[{index}]", value, wanted)
        return values

    def required(self, *keys: str) -> None:
        """Complain of fields that are absent."""
        for key in keys:
            if not self.has(key):
                raise RequestError(
                    f"{self.path} lacks {key}", operation=f"read {self.path}", value=key
                )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_list(value: object) -> bool:
    return isinstance(value, list)
