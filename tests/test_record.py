"""Records: frozen, slotted, keyword-only."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import pytest

from cgmgr.errors import RequestError
from cgmgr.record import Record


class Point(Record):
    AXES: ClassVar[tuple[str, ...]] = ("x", "y")

    x: int
    y: int = 0

    def norm(self) -> int:
        return abs(self.x) + abs(self.y)


class Named(Point):
    name: str = ""
    y: int = 7


class Checked(Record):
    numbers: tuple[int, ...] = ()

    def check(self) -> None:
        if 0 in self.numbers:
            raise RequestError("0 is in numbers")
        self._settle("numbers", tuple(sorted(self.numbers)))


class Empty(Record):
    pass


def test_fields_are_in_order_and_defaults_hold() -> None:
    point = Point(x=3)

    assert Point.__fields__ == ("x", "y")
    assert (point.x, point.y, point.norm()) == (3, 0, 3)


def test_class_variables_are_no_fields() -> None:
    assert Point.AXES == ("x", "y")
    assert "AXES" not in Point.__fields__


def test_a_subclass_adds_fields_and_changes_defaults() -> None:
    assert Named.__fields__ == ("x", "y", "name")
    assert Named(x=1) == Named(x=1, y=7, name="")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "Point needs x"),
        ({"y": 1}, "Point needs x"),
        ({"x": 1, "z": 1}, "Point has no field z"),
        ({"z": 1}, "Point has no field z"),
        ({"z": 1, "a": 1}, "Point has no field a, z"),
        ({"x": 1, "y": 1, "z": 1}, "Point has no field z"),
    ],
    ids=["nothing", "missing", "unknown", "unknown-instead", "two-unknown", "all-and-unknown"],
)
def test_construction_refuses(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError) as caught:
        Point(**values)

    assert str(caught.value) == complaint


def test_positional_values_are_refused() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_record_is_frozen() -> None:
    point = Point(x=1)

    with pytest.raises(AttributeError, match=r"Point is frozen, use replace\(x=\.\.\.\)"):
        point.x = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="frozen"):
        point.__setattr__("new", 2)
    with pytest.raises(AttributeError, match="frozen, x stays"):
        del point.x  # pyright: ignore[reportAttributeAccessIssue]
    assert point.x == 1


def test_there_is_no_dict() -> None:
    assert not hasattr(Point(x=1), "__dict__")


def test_equal_when_type_and_fields_are() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert Named(x=1, y=0) != Point(x=1, y=0)
    assert (Point(x=1) == 1) is False
    assert hash(Point(x=1)) == hash(Point(x=1))
    assert len({Point(x=1), Point(x=1, y=0), Point(x=2)}) == 2


def test_a_record_with_something_unhashable_in_it_is_unhashable() -> None:
    with pytest.raises(TypeError):
        hash(Point(x=[]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_truth_is_whether_anything_is_said() -> None:
    assert not Empty()
    assert not Checked()
    assert Checked(numbers=(1,))
    assert Point(x=0), "a field without default is always said"


def test_replace_checks_again() -> None:
    assert Point(x=1).replace(y=5) == Point(x=1, y=5)
    assert type(Named(x=1).replace(x=2)) is Named
    with pytest.raises(RequestError):
        Checked(numbers=(1,)).replace(numbers=(0,))
    with pytest.raises(TypeError, match="no field z"):
        Point(x=1).replace(z=1)


def test_check_can_settle_a_canonical_form() -> None:
    assert Checked(numbers=(3, 1)) == Checked(numbers=(1, 3))


def test_set_fields_and_repr_say_what_is_not_default() -> None:
    assert Named(x=1, name="a").set_fields() == {"x": 1, "name": "a"}
    assert repr(Named(x=1, name="a")) == "Named(x=1, name='a')"
    assert repr(Empty()) == "Empty()"


def _pickled(record: Record) -> Record:
    there: Record = pickle.loads(pickle.dumps(record))
    return there


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, _pickled])
def test_copies_are_equal(through: Any) -> None:
    there = through(Named(x=1, name="a"))

    assert there == Named(x=1, name="a")
    assert type(there) is Named


def test_a_field_may_have_the_name_of_a_builtin() -> None:
    class Limit(Record):
        max: int | None = None

    assert Limit(max=3).max == 3
