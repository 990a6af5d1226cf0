"""systemd's manager: the few of its verbs that we use, and its refusals in our words.

Law: one method here is one thing asked of systemd, with a deadline.  What a unit is to hold is
decided elsewhere, how a call travels is the bus's business (`cgmgr.drivers.bus`).

Source: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import contextlib
import time

from cgmgr.errors import (
    CgmgrError,
    DeadlineExceeded,
    DriverError,
    NameTaken,
    NoSuchGroup,
    NotDelegated,
    RequestError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Any, Final

    from .bus import Bus

    #: name, D-Bus signature, value
    Property = tuple[str, str, Any]

MANAGER: Final = "org.freedesktop.systemd1.Manager"
MANAGER_PATH: Final = "/org/freedesktop/systemd1"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
UNIT_PATH: Final = MANAGER_PATH + "/unit/"

UNIT_EXISTS: Final = "org.freedesktop.systemd1.UnitExists"
NO_SUCH_UNIT: Final = "org.freedesktop.systemd1.NoSuchUnit"
#: EROFS, which systemd answers for a property that it does not know, or takes only at creation
READ_ONLY: Final = "org.freedesktop.DBus.Error.PropertyReadOnly"
_DENIED: Final = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
)
_MALFORMED: Final = (
    "org.freedesktop.DBus.Error.InvalidArgs",
    "org.freedesktop.DBus.Error.InvalidSignature",
    READ_ONLY,
)
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
UNIT: Final = "org.freedesktop.systemd1.Unit"
JOB_S: Final = 30.0
CALL_S: Final = 10.0
#: how long a unit whose job got lost is looked at, until it is there or not
LOOK_S: Final = 5.0
LOOK_PAUSE_S: Final = 0.05
#: a unit of each kind that every systemd has, to learn the kind's properties from
_EXAMPLES: Final = {"scope": "init.scope", "slice": "-.slice"}
#: values of ActiveState that do not last (org.freedesktop.systemd1(5))
_PASSING: Final = ("activating", "deactivating", "reloading")
_GONE: Final = ("inactive", "failed")


class Systemd1:
    """systemd's manager, of the system or of the user, connected to on first use."""

    def __init__(self, connect: Callable[[], Bus]) -> None:
        self._connect = connect
        self._bus: Bus | None = None
        self._version: int | None = None
        self._signatures: dict[str, dict[str, str]] = {}

    @property
    def bus(self) -> Bus:
        if self._bus is None:
            self._bus = self._connect()
        return self._bus

    @property
    def version(self) -> int:
        """The number in "252.39-1~deb12u1" or "v245.4-1.fc32"."""
        if self._version is None:
            with _saying("read version of", "systemd"):
                text = str(self.get(MANAGER_PATH, MANAGER, "Version")).lstrip("v")
            digits = text[: next((n for n, c in enumerate(text) if not c.isdigit()), len(text))]
            self._version = int(digits or 0)
        return self._version

    def control_group(self) -> str:
        """The group that this manager's units are below: "/" of the system's."""
        return str(self.get(MANAGER_PATH, MANAGER, "ControlGroup")) or "/"

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        """Start a transient unit, and return once it is there.

        One of that name that failed is forgotten first; one that is there is `NameTaken`.  Where
        the answer got lost, the unit itself says whether it is there.
        """
        with _saying("start unit", unit):
            try:
                result = self._start(unit, properties)
            except DriverError as error:
                if _name_of(error) != UNIT_EXISTS or not self.reset_failed(unit):
                    raise
                result = self._start(unit, properties)
        if result != "done":
            with contextlib.suppress(CgmgrError):
                self.reset_failed(unit)
            raise DriverError(
                f"start unit {unit}: systemd's job ended with {result!r}",
                operation="start unit",
                path=unit,
                value=result,
                hint=f"journalctl -b -u {unit}",
            )

    def stop(self, unit: str) -> None:
        """Stop a unit and forget it; no error where it is gone."""
        with _saying("stop unit", unit):
            try:
                result = self._job(unit, _GONE, "StopUnit", "ss", (unit, "replace"))
            except DriverError as error:
                if _name_of(error) == NO_SUCH_UNIT:
                    return
                raise
        self.reset_failed(unit)
        if result not in ("done", "skipped"):
            raise DriverError(
                f"stop unit {unit}: systemd's job ended with {result!r}",
                operation="stop unit",
                path=unit,
                value=result,
                hint=f"systemctl status {unit}",
            )

    def stop_unused(self, unit: str) -> bool:
        """Stop a unit unless something is about to start within it; whether it is gone."""
        try:
            return self._job(unit, _GONE, "StopUnit", "ss", (unit, "fail")) == "done"
        except DriverError as error:
            return _name_of(error) == NO_SUCH_UNIT

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Change a unit that is there, until the next boot."""
        args = (unit, True, _variants(properties))
        with _saying("set properties of", unit):
            self._call("SetUnitProperties", "sba(sv)", args)

    def attach(self, unit: str, subgroup: str, pids: Iterable[int]) -> None:
        """Have processes moved into a unit's subgroup by whoever may do that (systemd >= 238)."""
        with _saying("attach to", unit):
            self._call("AttachProcessesToUnit", "ssau", (unit, subgroup, list(pids)))

    def reset_failed(self, unit: str) -> bool:
        """Forget that a unit failed; False where there is no such unit."""
        with _saying("reset unit", unit):
            try:
                self._call("ResetFailedUnit", "s", (unit,))
            except DriverError as error:
                if _name_of(error) == NO_SUCH_UNIT:
                    return False
                raise
        return True

    def state(self, unit: str) -> str:
        """ActiveState of a unit; "inactive" of one that there is not."""
        return str(self.get(unit_path(unit), UNIT, "ActiveState"))

    def description(self, unit: str) -> str:
        """What a unit is called; its name where nobody called it anything."""
        return str(self.get(unit_path(unit), UNIT, "Description"))

    def signatures(self, unit: str) -> dict[str, str]:
        """The properties of units of that kind, and their types; asked once a kind."""
        kind = unit.rpartition(".")[2]
        known = self._signatures.get(kind)
        if known is None:
            from .systemd_any import signatures

            path = unit_path(_EXAMPLES.get(kind, unit))
            body = self.bus.call(path, INTROSPECTABLE, "Introspect", timeout_s=CALL_S)
            known = self._signatures[kind] = signatures(str(body[0]))
        return known

    def values(self, unit: str, names: Iterable[str]) -> list[Property]:
        """What a unit's properties are now; left out is what it does not tell."""
        known, path = self.signatures(unit), unit_path(unit)
        interface = f"org.freedesktop.systemd1.{unit.rpartition('.')[2].capitalize()}"
        found: list[Property] = []
        for name in names:
            # a property is the kind's, or one that all units have
            for where in (interface, UNIT):
                with contextlib.suppress(DriverError):
                    found.append((name, known[name], self.get(path, where, name)))
                    break
        return found

    def get(self, path: str, interface: str, name: str) -> Any:
        """A property of an object."""
        body = self.bus.call(path, PROPERTIES, "Get", "ss", (interface, name), timeout_s=CALL_S)
        return body[0][1]

    def _start(self, unit: str, properties: Sequence[Property]) -> str:
        args = (unit, "fail", _variants(properties), list[object]())
        return self._job(unit, ("active",), "StartTransientUnit", "ssa(sv)a(sa(sv))", args)

    def _job(
        self, unit: str, wanted: tuple[str, ...], member: str, signature: str, args: tuple[Any, ...]
    ) -> str:
        """How a job ended.  Where the end was not told, the bus having gone away or systemd being
        late, the job is "done" if the unit is as it was to be, and the failure stands otherwise."""
        from .bus import JobLost

        try:
            return self.bus.job(member, signature, args, timeout_s=JOB_S)
        except (JobLost, DeadlineExceeded) as error:
            try:
                state = self._settled(unit)
            except (DriverError, DeadlineExceeded) as silent:
                error.add_note(f"whether {unit} is there is not known: {silent}")
                raise error from silent
            if state in wanted:
                return "done"
            raise

    def _settled(self, unit: str) -> str:
        """ActiveState, once it is one that lasts."""
        deadline = time.monotonic() + LOOK_S
        while (state := self.state(unit)) in _PASSING and time.monotonic() < deadline:
            time.sleep(LOOK_PAUSE_S)
        return state

    def _call(self, member: str, signature: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.bus.call(MANAGER_PATH, MANAGER, member, signature, args, timeout_s=CALL_S)


def unit_path(unit: str) -> str:
    """A unit's object: what is no letter or digit is _xx (sd_bus_path_encode(3))."""
    return UNIT_PATH + "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"_{byte:02x}"
        for byte in unit.encode()
    )


@contextlib.contextmanager
def _saying(operation: str, unit: str) -> Generator[None]:
    """Errors that leave this say what was to be done, with which unit."""
    try:
        yield
    except (DriverError, DeadlineExceeded) as error:
        told = explain(error, operation, unit)
        if told is error:
            raise
        raise told from error


def explain(error: CgmgrError, operation: str, unit: str) -> CgmgrError:
    """systemd's refusal as an error of the kind that it is; the same error, with its operation and
    unit, where it is none of systemd's."""
    name = _name_of(error)
    told: dict[str, Any] = {"operation": operation, "path": unit, "value": name or None}
    text = f"{operation} {unit}: {error.message}"
    if name == UNIT_EXISTS:
        return NameTaken(text, hint=f"systemctl status {unit}", **told)
    if name == NO_SUCH_UNIT:
        return NoSuchGroup(text, hint=f"systemctl list-units --all {unit}", **told)
    if name in _DENIED:
        hint = "su # or as a user with a systemd of your own"
        return NotDelegated(text, hint=hint, **told)
    if name in _MALFORMED:
        return RequestError(text, hint="man systemd.resource-control", **told)
    error.message, error.operation, error.path = text, operation, unit
    return error


def _name_of(error: CgmgrError) -> str:
    """The error's D-Bus name; "" for one that systemd did not answer."""
    from .bus import BusError

    return error.name if isinstance(error, BusError) else ""


def _variants(properties: Sequence[Property]) -> list[tuple[str, tuple[str, Any]]]:
    return [(name, (signature, value)) for name, signature, value in properties]
