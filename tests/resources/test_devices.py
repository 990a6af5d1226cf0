"""Devices as they are named and ruled."""

import pytest
from hypothesis import given

from cgmgr.errors import RequestError
from cgmgr.resources import DeviceRule
from cgmgr.resources.devices import (
    DEFAULT_RULES,
    block_number,
    format_signed_rule,
    parse_rule,
    parse_signed_rule,
    path_rule,
)

from .requests import rules

#: what runc, crun and youki allow
DEFAULTS = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
)

RULES = {
    "c 1:3 rwm": DeviceRule(kind="c", major=1, minor=3),
    "b 8:* r": DeviceRule(kind="b", major=8, access="r"),
    "c *:3 w": DeviceRule(kind="c", minor=3, access="w"),
    "a *:* rwm": DeviceRule(kind="a"),
    "c 1:3 mr": DeviceRule(kind="c", major=1, minor=3, access="rm"),
    "c 1:3 rr": DeviceRule(kind="c", major=1, minor=3, access="r"),
    "c 4294967295:0 m": DeviceRule(kind="c", major=4294967295, minor=0, access="m"),
}


def resolve(path: str) -> tuple[str, int, int]:
    known = {
        "/dev/sda": ("b", 8, 0),
        "/dev/null": ("c", 1, 3),
        "/dev/disk/by-path/pci-0:1": ("b", 8, 1),
    }
    if path not in known:
        raise RequestError(f"no device {path}")
    return known[path]


def test_the_default_rules() -> None:
    assert tuple(str(rule) for rule in DEFAULT_RULES) == DEFAULTS


@pytest.mark.parametrize(("text", "rule"), RULES.items(), ids=RULES)
def test_rules(text: str, rule: DeviceRule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "c", "c 1:3", "c 1:3 ", "c 1:3 x", "c 1:3 rwmr", "p 1:3 r", "c 1 r", "c 1:3:5 r"),
        *("c -1:3 r", "c  1:3 r", "c 1:3  r", "c :3 r", "c 1: r", "c a:b r", "C 1:3 r"),
        *("c 4294967296:0 r", "c \u0661:3 r"),
    ],
)
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_rule(text, "--device-cgroup-rule")

    assert f"invalid --device-cgroup-rule {text!r}" in str(caught.value)


@given(rules)
def test_signed_rules_come_back(rule: DeviceRule) -> None:
    assert parse_signed_rule(format_signed_rule(rule)) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("all", DeviceRule(kind="a")),
        ("a", DeviceRule(kind="a")),
        ("!all", DeviceRule(kind="a", allow=False)),
        ("!c 1:3 w", DeviceRule(kind="c", major=1, minor=3, access="w", allow=False)),
    ],
)
def test_signed_rules(text: str, rule: DeviceRule) -> None:
    assert parse_signed_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8:0", "8:0"),
        ("08:000", "8:0"),
        ("/dev/block/259:3", "259:3"),
        ("/dev/sda", "8:0"),
        ("/dev/disk/by-path/pci-0:1", "8:1"),
    ],
)
def test_disks(text: str, number: str) -> None:
    assert block_number(text, "disk", resolve) == number


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("/dev/null", "that is a character device, and a disk is needed"),
        ("/dev/char/1:3", "that is a character device"),
        ("/dev/nope", "no device /dev/nope"),
        ("sda", "name a disk as /dev/NAME or MAJOR:MINOR"),
        ("", "name a disk as"),
        ("/etc/passwd", "name a disk as"),
        ("8:x", "write a whole number"),
        (":", "write a whole number"),
        ("8:0:1", "write a whole number"),
    ],
)
def test_disks_that_are_none(text: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        block_number(text, "disk", resolve)


def test_a_path_without_anybody_to_look_it_up_is_refused_with_the_way_to_do_it() -> None:
    with pytest.raises(RequestError) as caught:
        block_number("/dev/sda", "--device-read-bps")

    assert caught.value.hint == "stat -c '%Hr:%Lr' /dev/sda"


def test_a_rule_for_a_path() -> None:
    assert path_rule("/dev/null", "rw", "device", resolve) == parse_rule("c 1:3 rw")
    assert path_rule("/dev/block/8:16", "r", "device") == parse_rule("b 8:16 r")
