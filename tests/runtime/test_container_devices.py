"""--device: its grammar, what is found on a host, and what a config.json says of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cgmgr.errors import RequestError
from cgmgr.resources.devices import parse_rule
from cgmgr.resources.model import DeviceRule
from cgmgr.runtime.devices import Device, find_devices

NULL = Device(path="/dev/null", kind="c", major=1, minor=3)


@pytest.mark.parametrize(
    ("text", "path", "access"),
    [
        ("/dev/null", "/dev/null", "rwm"),
        ("/dev/null:r", "/dev/null", "r"),
        ("/dev/null:mr", "/dev/null", "mr"),
        ("/dev/null:/dev/zilch", "/dev/zilch", "rwm"),
        ("/dev/null:/opt/../dev/zilch/:rw", "/dev/zilch", "rw"),
    ],
)
def test_the_grammar_is_dockers(text: str, path: str, access: str) -> None:
    (found,) = find_devices(text)

    assert (found.path, found.access) == (path, access)
    assert (found.kind, found.major, found.minor) == ("c", 1, 3)
    assert found.mode == stat.S_IMODE(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "absolute paths"),
        ("null", "absolute paths"),
        ("vendor.com/class=name", "absolute paths"),
        ("/dev/null:zilch", "absolute paths"),
        ("/dev/null:rwx", "absolute paths"),
        ("/dev/null:rr", "absolute paths"),
        ("/dev/null:/a:/b", "absolute paths"),
        ("/dev/null:/a:r:w", "absolute paths"),
        ("/dev/null:/a:", "absolute paths"),
        ("/dev/null:/", "below /"),
        ("/dev/nothing-of-that-name", "no such file"),
        ("/etc/passwd", "that is no device"),
        ("/proc/tty", "no device in that directory"),
        ("/dev/nu\0ll", "absolute paths"),
    ],
)
def test_what_is_no_device_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        find_devices(text)


def test_a_link_is_followed_and_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")

    assert find_devices(f"{tmp_path}/link:/dev/x")[0].replace(path="/dev/null") == NULL


def test_all_that_are_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, number in (("sub/one", (1, 3)), ("two", (1, 5))):
        try:
            os.mknod(tmp_path / name, 0o600 | stat.S_IFCHR, os.makedev(*number))
        except PermissionError:
            pytest.skip("this run may make no device")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("two")

    found = find_devices(f"{tmp_path}/:/dev/all:r")

    assert [(d.path, d.minor, d.mode, d.access) for d in found] == [
        ("/dev/all/two", 5, 0o600, "r"),
        ("/dev/all/sub/one", 3, 0o600, "r"),
    ]


def test_the_rule_for_the_filter() -> None:
    rule = NULL.replace(access="mr").rule

    assert parse_rule(rule) == DeviceRule(kind="c", major=1, minor=3, access="rm")
