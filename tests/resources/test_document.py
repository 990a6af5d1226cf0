"""Reading a JSON document: the type is right, or the complaint names the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cgmgr.errors import RequestError
from cgmgr.resources.document import Node


def whole(node: Node, key: str) -> object:
    return node.whole(key, 0, 9)


def wholes(node: Node, key: str) -> object:
    return node.wholes(key, 0, 9)


def nodes(node: Node, key: str) -> object:
    return [list(one.keys()) for one in node.nodes(key)]


ROWS: list[tuple[Callable[[Node, str], object], Any, object, object, Any, str]] = [
    (Node.text, "a", "a", None, 1, "x.key"),
    (Node.text, "", "", None, "a\0b", "x.key"),
    (Node.texts, ["a", ""], ("a", ""), (), ["a", 1], r"x.key\[1\]"),
    (Node.texts, [], (), (), "a", "x.key"),
    (Node.texts, [], (), (), ["\0"], r"x.key\[0\]"),
    (Node.boolean, False, False, None, 0, "x.key"),
    (whole, 9, 9, None, 10, "x.key"),
    (whole, 0, 0, None, True, "x.key"),
    (wholes, [0, 9], (0, 9), (), [0, 10], r"x.key\[1\]"),
    (wholes, [], (), (), [True], r"x.key\[0\]"),
    (nodes, [{"a": 1}], [["a"]], [], [{}, 1], r"x.key\[1\]"),
]


@pytest.mark.parametrize(("read", "value", "expected", "absent", "wrong", "place"), ROWS)
def test_types(
    read: Callable[[Node, str], object],
    value: Any,
    expected: object,
    absent: object,
    wrong: Any,
    place: str,
) -> None:
    assert read(Node({"key": value}, "x"), "key") == expected
    assert read(Node({}, "x"), "key") == absent
    assert read(Node({"key": None}, "x"), "key") == absent
    with pytest.raises(RequestError, match=place):
        read(Node({"key": wrong}, "x"), "key")


def test_objects_in_objects() -> None:
    node = Node({"a": {"b": 5}}, "x")

    assert list(node.node("a").keys()) == ["b"]
    assert list(node.node("missing").keys()) == []
    with pytest.raises(RequestError, match=r"x\.a\.b is 5, and must be an object"):
        node.node("a").node("b")
    with pytest.raises(RequestError, match="x lacks c"):
        node.required("a", "c")
