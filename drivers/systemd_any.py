"""Any property of a unit, as `systemd-run -p` takes it: `RuntimeMaxSec=1h`, `KillMode=mixed`.

Law: pure.  Which properties there are, and of what type, this systemd says itself, when it
describes an object (`signatures`); here a text becomes a value of that type.  Resource settings are
not among them: they are `Resources`, which every driver holds.

Source: systemd-run(1), systemd.exec(5), systemd.scope(5); src/shared/bus-unit-util.c of systemd.
"""

from __future__ import annotations

import shlex

from cgmgr.errors import RequestError
from cgmgr.resources.systemd import INFINITY
from cgmgr.resources.systemd_text import parse_size, parse_span
from cgmgr.units import parse_int

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from .systemd1 import Property

_BOOLEANS: Final = {
    **dict.fromkeys(("1", "yes", "y", "true", "t", "on"), True),
    **dict.fromkeys(("0", "no", "n", "false", "f", "off"), False),
}
#: integers: least and most
_INTEGERS: Final = {
    "y": (0, (1 << 8) - 1),
    "n": (-(1 << 15), (1 << 15) - 1),
    "q": (0, (1 << 16) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
    "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1),
}
#: what is decided by the group's name, or would let its processes out of it
_OURS: Final = {
    "Slice": "it follows from the group's name",
    "PIDs": "it is the keeper",
    "PIDFDs": "it is the keeper",
    "Delegate": "the group is a leaf that systemd delegates",
    "DelegateControllers": "the group is a leaf that systemd delegates",
}


def signatures(description: str) -> dict[str, str]:
    """The properties of an object and their types, from what Introspect answers."""
    from xml.etree import ElementTree

    tree = ElementTree.fromstring(description)
    return {
        node.attrib["name"]: node.attrib["type"]
        for interface in tree.iter("interface")
        if interface.attrib["name"].startswith("org.freedesktop.systemd1.")
        for node in interface.iter("property")
    }


def property_of(text: str, known: Mapping[str, str], systemd: int) -> Property:
    """`NAME=VALUE` as a property with its D-Bus value.  Raises `RequestError`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise _refused(text, "write PROPERTY=VALUE, such as RuntimeMaxSec=1h")
    if name in _OURS:
        raise _refused(text, f"{name} is not to be chosen: {_OURS[name]}")
    # what a person gives in seconds, D-Bus has in microseconds
    spelled = f"{name[:-3]}USec" if name.endswith("Sec") and not name.endswith("USec") else name
    signature = known.get(spelled)
    if signature is None:
        raise _refused(text, f"systemd {systemd} does not know a property {name} of such a unit")
    return spelled, signature, _value(signature, value, spelled, text)


def _value(signature: str, value: str, name: str, text: str) -> Any:
    if signature in _INTEGERS:
        return parse_int(value, name, *_INTEGERS[signature])
    parse = _PARSERS.get(signature)
    if parse is None:
        raise _refused(text, f"a value of D-Bus type {signature} cannot be written as a text")
    return parse(value, name)


def _boolean(value: str, name: str) -> bool:
    found = _BOOLEANS.get(value.lower())
    if found is None:
        raise _refused(f"{name}={value}", "write yes or no")
    return found


def _unsigned(value: str, name: str) -> int:
    if name.endswith("USec"):
        return parse_span(value, name)
    return INFINITY if value in ("", "infinity") else parse_size(value, name)


def _words(value: str, name: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise _refused(f"{name}={value}", str(error).lower()) from error


_PARSERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "s": lambda value, _name: value,
    "b": _boolean,
    "t": _unsigned,
    "as": _words,
}


def _refused(text: str, why: str) -> RequestError:
    return RequestError(
        f"invalid property {text!r}: {why}",
        operation="set property",
        value=text,
        hint="man systemd.resource-control systemd.scope systemd.slice systemd.unit",
    )
