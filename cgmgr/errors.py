"""The exception tree.  Whose fault it was is the type; what, where and why are the fields.

Law: only exceptions live here.  Libraries raise them; only `cgmgr.cli` turns one into text and an
exit status.  Messages are lower-case, without a full stop, and name the path or text that failed.

    CgmgrError
    ├── RequestError            the caller asked for something no host could hold
    │   ├── NameTaken           a group or container of that name is there already
    │   ├── NoSuchGroup         a group or container of that name is not there
    │   └── LimitBelowUsage     the new limit is lower than what is used now
    ├── HostError               this machine, as it is set up, cannot hold it
    │   ├── ControllerUnavailable   a controller, or one of its files, is not there
    │   ├── NotDelegated        the files are there and are not ours to write
    │   └── DriverError         a driver is unknown, or its service does not answer
    ├── KernelError             the kernel refused an operation it normally takes
    │   └── GroupBusy           a group cannot be removed, or cannot take processes
    └── RaceError               the world moved while we looked
        ├── GroupGone           the group vanished under us
        └── DeadlineExceeded    something did not happen in the time given

Every one of them carries `operation`, `path`, `value`, `errno` and `hint`, each None when it has no
meaning.  A hint is text that can be pasted into a shell or a configuration file.
"""

from __future__ import annotations

import os


class CgmgrError(Exception):
    """Base of everything that cgmgr raises on purpose."""

    DETAILS: tuple[str, ...] = ("operation", "path", "value", "errno", "hint")

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        path: str | None = None,
        value: str | None = None,
        errno: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.path = path
        self.value = value
        self.errno = errno
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        """As it is on the other side of a pipe too; `Exception` would lose the keywords there."""
        details = {name: getattr(self, name) for name in self.DETAILS}
        return _rebuild, (type(self), self.message, details), self.__dict__.copy()


def _rebuild(kind: type[CgmgrError], message: str, details: dict[str, object]) -> CgmgrError:
    return kind(message, **details)  # type: ignore[arg-type]


class RequestError(CgmgrError, ValueError):
    """The caller asked for something malformed or out of range."""


class NameTaken(RequestError):
    """A group or container of that name exists."""


class NoSuchGroup(RequestError):
    """No group or container of that name exists."""


class LimitBelowUsage(RequestError):
    """A limit below present usage; `used` says how much is used, in the unit of the limit."""

    DETAILS = (*CgmgrError.DETAILS, "used")

    def __init__(self, message: str, *, used: int, **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]
        self.used = used


class HostError(CgmgrError):
    """This machine cannot hold the request; the hint says what would change that."""


class ControllerUnavailable(HostError):
    """A controller or one of its files is missing; `missing_at` is the ancestor that lacks it."""

    DETAILS = (*CgmgrError.DETAILS, "controller", "missing_at")

    def __init__(
        self, message: str, *, controller: str, missing_at: str | None = None, **details: object
    ) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]
        self.controller = controller
        self.missing_at = missing_at


class NotDelegated(HostError):
    """The cgroup files exist and are not ours to write."""


class DriverError(HostError):
    """A driver is unknown, or what it depends on does not answer."""


class KernelError(CgmgrError, OSError):
    """The kernel refused an operation."""

    def __str__(self) -> str:
        return self.message


class GroupBusy(KernelError):
    """A group holds processes or children where it must not."""


class RaceError(CgmgrError):
    """Something changed between a look and an act."""


class GroupGone(RaceError):
    """The group was removed by somebody else."""


class DeadlineExceeded(RaceError, TimeoutError):
    """Something did not happen in the time that was given."""


def kernel_error(
    operation: str,
    path: str,
    error: OSError | int,
    *,
    value: str | None = None,
    hint: str | None = None,
) -> KernelError:
    """A `KernelError` whose message is ``OPERATION VALUE PATH: reason``."""
    number = error if isinstance(error, int) else (error.errno or 0)
    subject = f"{value!r} to {path}" if value is not None else path
    return KernelError(
        f"{operation} {subject}: {os.strerror(number).lower()}",
        operation=operation,
        path=path,
        value=value,
        errno=number,
        hint=hint,
    )
