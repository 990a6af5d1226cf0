"""Values of a JSON document: the type is right, or the error names the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cgmgr.errors import RequestError
from cgmgr.runtime import document

READERS: list[tuple[Callable[[Any, str], object], object, object, object]] = [
    (document.object_, {"a": 1}, {}, []),
    (document.objects, [{"a": 1}], [], [1]),
    (document.texts, ["a"], (), ["a", 1]),
    (document.text, "a", "", 1),
    (document.flag, True, False, 1),
    (document.number, 5, None, "5"),
    (document.number, 0, None, True),
    (document.numbers, [1, 2], (), [1, "2"]),
]
NAMES = [f"{reader[0].__name__}-{reader[1]}" for reader in READERS]


@pytest.mark.parametrize(("read", "value", "absent", "wrong"), READERS, ids=NAMES)
def test_types(
    read: Callable[[Any, str], object], value: object, absent: object, wrong: object
) -> None:
    expected = tuple(value) if isinstance(absent, tuple) else value  # type: ignore[arg-type]

    assert read({"key": value}, "key") == expected
    assert read({}, "key") == absent
    assert read({"key": None}, "key") == absent
    with pytest.raises(RequestError, match="key"):
        read({"key": wrong}, "key")


@pytest.mark.parametrize("read", [document.text, document.texts])
def test_nul_is_refused(read: Callable[[Any, str], object]) -> None:
    value = "a\0b"
    with pytest.raises(RequestError, match="key"):
        read({"key": [value] if read is document.texts else value}, "key")
