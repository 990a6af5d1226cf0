"""Devices as they are named and ruled.

Law: pure.  A path under /dev becomes a number only through a `Resolve` that the caller brings,
because that is the one thing here that needs a file system.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX_U32, parse_int, refuse

from .model import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    #: a path to its kind ("b" or "c"), major and minor; raises `RequestError` where there is none
    Resolve = Callable[[str], tuple[str, int, int]]


def _rules(kind: str, access: str, numbers: str) -> Iterable[DeviceRule]:
    for number in numbers.split():
        major, _, minor = number.partition(":")
        yield DeviceRule(
            kind=kind,
            major=None if major == "*" else int(major),
            minor=None if minor == "*" else int(minor),
            access=access,
        )


#: what every container may use: the devices that the OCI specification puts into each ("Default
#: Devices"), terminals, mknod of anything, and tun (10:200), as runc, crun and youki allow.  docker
#: itself does not list tun, but runc adds it below docker; runc 1.2.0 left it out, and 1.2.4 put it
#: back because VPNs in containers no longer started (opencontainers/runc#4555).  It is of no use
#: without CAP_NET_ADMIN, which no container has by default.
DEFAULT_RULES: Final = (
    *_rules("c", "m", "*:*"),
    *_rules("b", "m", "*:*"),
    *_rules("c", "rwm", "1:3 1:5 1:7 1:8 1:9 5:0 5:1 5:2 136:* 10:200"),
)


def parse_rule(text: str, what: str = "device rule") -> DeviceRule:
    """An allow rule in docker's and the kernel's grammar: "c 1:3 rwm", "b 8:* r", "a *:* rwm".

    Letters of the access may come in any order, and twice, as there.
    """
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, colon, minor = numbers.partition(":")
    if (
        kind not in ("a", "b", "c")
        or not colon
        or not 0 < len(access) <= 3
        or set(access) - {*"rwm"}
    ):
        raise refuse(what, text, "write TYPE MAJOR:MINOR ACCESS, such as 'c 1:3 rwm'")
    return DeviceRule(
        kind=kind,
        major=_number(major, text, what),
        minor=_number(minor, text, what),
        access="".join(letter for letter in "rwm" if letter in access),
    )


def _number(text: str, whole: str, what: str) -> int | None:
    if text == "*":
        return None
    try:
        return parse_int(text, what, 0, MAX_U32)
    except RequestError:
        raise refuse(what, whole, f"a number or *, not {text!r}") from None


def parse_signed_rule(text: str, what: str = "devices") -> DeviceRule:
    """A rule with a sign: "c 1:3 rwm" allows, "!c 1:3 w" denies; "all" is everything."""
    body = text.removeprefix("!")
    rule = DeviceRule(kind="a") if body in ("a", "all") else parse_rule(body, what)
    return rule if body == text else rule.replace(allow=False)


def format_signed_rule(rule: DeviceRule) -> str:
    """The inverse of `parse_signed_rule`."""
    return str(rule) if rule.allow else f"!{rule}"


def block_number(text: str, what: str, resolve: Resolve | None = None) -> str:
    """A disk as MAJOR:MINOR, from just that, from /dev/block/MAJOR:MINOR, or from its path."""
    number = text.removeprefix("/dev/block/")
    major, colon, minor = number.partition(":")
    if colon and "/" not in number:
        return f"{parse_int(major, what, 0, MAX_U32)}:{parse_int(minor, what, 0, MAX_U32)}"
    if not text.startswith("/dev/"):
        raise refuse(what, text, "name a disk as /dev/NAME or MAJOR:MINOR")
    kind, *numbers = _resolved(text, what, resolve)
    if kind != "b":
        raise refuse(what, text, "that is a character device, and a disk is needed")
    return "{}:{}".format(*numbers)


def path_rule(path: str, access: str, what: str, resolve: Resolve | None = None) -> DeviceRule:
    """An allow rule for the device at a path."""
    kind, major, minor = _resolved(path, what, resolve)
    return DeviceRule(kind=kind, major=major, minor=minor, access=access)


def _resolved(path: str, what: str, resolve: Resolve | None) -> tuple[str, int, int]:
    for folder, kind in (("/dev/char/", "c"), ("/dev/block/", "b")):
        major, colon, minor = path.removeprefix(folder).partition(":")
        if path.startswith(folder) and colon:
            return kind, parse_int(major, what, 0, MAX_U32), parse_int(minor, what, 0, MAX_U32)
    if resolve is None:
        raise RequestError(
            f"invalid {what} {path!r}: paths are not looked up here, give the number",
            operation=f"parse {what}",
            value=path,
            hint=f"stat -c '%Hr:%Lr' {path}",
        )
    return resolve(path)
