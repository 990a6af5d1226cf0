"""The exception tree: whose fault is the type, where and why are the fields."""

import copy
import errno
import pickle
from collections.abc import Callable

import pytest

from cgmgr import errors
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    DeadlineExceeded,
    DriverError,
    GroupBusy,
    GroupGone,
    HostError,
    KernelError,
    LimitBelowUsage,
    NameTaken,
    NoSuchGroup,
    NotDelegated,
    RaceError,
    RequestError,
    kernel_error,
)

TREE: list[tuple[type[Exception], type[Exception]]] = [
    (RequestError, CgmgrError),
    (NameTaken, RequestError),
    (NoSuchGroup, RequestError),
    (LimitBelowUsage, RequestError),
    (HostError, CgmgrError),
    (ControllerUnavailable, HostError),
    (NotDelegated, HostError),
    (DriverError, HostError),
    (KernelError, CgmgrError),
    (GroupBusy, KernelError),
    (RaceError, CgmgrError),
    (GroupGone, RaceError),
    (DeadlineExceeded, RaceError),
]

#: what a caller who knows nothing of cgmgr would catch
STANDARD: list[tuple[type[Exception], type[Exception]]] = [
    (RequestError, ValueError),
    (KernelError, OSError),
    (DeadlineExceeded, TimeoutError),
]

SAMPLES = [
    CgmgrError("m"),
    RequestError("m", operation="parse size", value="12Q", hint="write 12M"),
    LimitBelowUsage("m", used=3, path="/x", errno=errno.EBUSY),
    ControllerUnavailable("m", controller="cpu", missing_at="/", path="/x/cpu.max"),
    KernelError("m", operation="write", path="/x", value="1", errno=errno.EINVAL),
    GroupBusy("m", errno=errno.EBUSY),
    DeadlineExceeded("m", path="/x"),
]


@pytest.mark.parametrize(("kind", "base"), TREE + STANDARD, ids=lambda kind: kind.__name__)
def test_the_tree(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, base)


def test_the_tree_is_drawn_in_the_docstring() -> None:
    kinds = {kind.__name__ for kind, _ in TREE} | {"CgmgrError"}
    drawn = {word for word in (errors.__doc__ or "").split() if word in kinds}

    assert drawn == kinds
    assert kinds == {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, CgmgrError)
    }


def test_every_detail_is_a_field_and_none_by_default() -> None:
    error = CgmgrError("m")

    assert [getattr(error, name) for name in CgmgrError.DETAILS] == [None] * 5
    assert str(error) == error.message == "m"


def _pickled(error: CgmgrError) -> CgmgrError:
    there: CgmgrError = pickle.loads(pickle.dumps(error))
    return there


WAYS: list[Callable[[CgmgrError], CgmgrError]] = [copy.copy, copy.deepcopy, _pickled]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("through", WAYS, ids=["copy", "deepcopy", "pickle"])
def test_nothing_is_lost_on_the_way_to_another_process(
    error: CgmgrError, through: Callable[[CgmgrError], CgmgrError]
) -> None:
    error.add_note("not undone: x")
    there = through(error)

    assert type(there) is type(error)
    assert str(there) == str(error)
    assert {name: getattr(there, name) for name in error.DETAILS} == {
        name: getattr(error, name) for name in error.DETAILS
    }
    assert there.__notes__ == error.__notes__


def test_a_kernel_error_from_what_the_system_call_raised() -> None:
    error = kernel_error(
        "write", "/x/pids.max", OSError(errno.EINVAL, "Invalid argument"), value="0"
    )

    assert str(error) == "write '0' to /x/pids.max: invalid argument"
    assert (error.operation, error.path, error.value) == ("write", "/x/pids.max", "0")
    assert error.errno == errno.EINVAL


def test_a_kernel_error_from_a_number_without_value() -> None:
    error = kernel_error("rmdir", "/x", errno.EBUSY, hint="cgmgr group kill /x")

    assert str(error) == "rmdir /x: device or resource busy"
    assert error.hint == "cgmgr group kill /x"


def test_an_os_error_without_a_number_is_still_told() -> None:
    assert kernel_error("read", "/x", OSError("odd")).errno == 0
