"""What unshare is asked for, what of it excludes what, and what it says it will do."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cgmgr.errors import KernelError, RequestError
from cgmgr.runtime import forking, unshare
from cgmgr.runtime.unshare import IdRange, UnshareOptions

MYSELF = IdRange(inner=0, outer=os.getegid())

EXCLUDED: list[tuple[str, dict[str, Any]]] = [
    ("unknown namespace", {"namespaces": ("net",)}),
    ("--propagation", {"propagation": "rslave"}),
    ("--setgroups", {"setgroups": "maybe"}),
    ("--setgroups", {"namespaces": ("user",), "groups": (MYSELF,), "setgroups": "allow"}),
    ("--monotonic", {"monotonic": 1}),
    ("--boottime", {"boottime": 1, "namespaces": ("mount",)}),
    ("--map-", {"users": (MYSELF,)}),
    ("--mount-proc", {"mount_proc": "/proc"}),
    ("--kill-child", {"kill_child": 9}),
    ("--forward-signals", {"forward_signals": True}),
    ("--owner", {"owner": (1, 1)}),
    ("--mount-binfmt", {"mount_binfmt": "/x"}),
    ("--load-interp", {"load_interp": ":x:E::x::/x:"}),
    ("--pid=FILE", {"namespaces": ("pid",), "files": (("pid", "/x"),)}),
]


@pytest.mark.parametrize(("words", "fields"), EXCLUDED)
def test_what_excludes_what(words: str, fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        UnshareOptions(**fields)

    assert words in str(caught.value)


def test_everything_in_its_order() -> None:
    said = unshare.describe(
        UnshareOptions(
            argv=("ps", "-ef"),
            namespaces=("time", "user", "mount", "pid"),
            files=(("mount", "/run/kept"),),
            users=(IdRange(inner=0, outer=os.geteuid()),),
            groups=(MYSELF,),
            fork=True,
            mount_proc="/proc",
            root="/new",
            wd="/work",
            setuid=1,
            setgid=2,
            keep_caps=True,
            monotonic=3,
        )
    )

    assert said == [
        "unshare user, mount, pid, time",
        "write 'monotonic 3 0' > /proc/self/timens_offsets",
        f"mount --bind /proc/{os.getpid()}/ns/mnt /run/kept",
        "write 'deny' > /proc/self/setgroups",
        f"write '0 {os.geteuid()} 1' > /proc/self/uid_map",
        f"write '0 {os.getegid()} 1' > /proc/self/gid_map",
        "mount --make-rprivate /",
        "chroot /new",
        "cd /",
        "cd /work",
        "mount -t proc -o nosuid,nodev,noexec proc /proc",
        "keep capabilities",
        "setgid 2",
        "setuid 1",
        "keep capabilities",
        "exec ps -ef",
    ]


def test_mounts_that_are_to_be_seen_outside() -> None:
    said = unshare.describe(
        UnshareOptions(
            argv=("true",), namespaces=("mount",), propagation="unchanged", mount_proc="/p"
        )
    )

    assert said == [
        "unshare mount",
        "mount --make-rprivate /p, if it is a mount",
        "mount -t proc -o nosuid,nodev,noexec proc /p",
        "exec true",
    ]


@pytest.mark.parametrize("flags", ["", "F"])
def test_an_interpreter_is_registered_where_it_is_found(flags: str) -> None:
    said = unshare.describe(
        UnshareOptions(
            argv=("true",),
            namespaces=("user", "mount"),
            propagation="unchanged",
            root="/new",
            mount_binfmt="/binfmt",
            load_interp=f":x:E::x::/x:{flags}",
        )
    )

    mount = "mount -t binfmt_misc -o nosuid,nodev,noexec binfmt_misc"
    register = f"write ':x:E::x::/x:{flags}' >"
    before = [f"{mount} {unshare.BINFMT}", f"{register} {unshare.BINFMT}/register"]
    assert said == [
        "unshare user, mount",
        *(before if flags else []),
        "chroot /new",
        "cd /",
        f"{mount} /binfmt",
        *([] if flags else [f"{register} /binfmt/register"]),
        "exec true",
    ]


def test_the_owner_comes_first_and_setgroups_before_the_maps() -> None:
    one = (IdRange(inner=0, outer=5),)
    fields: dict[str, Any] = {"users": one, "groups": one, "setgroups": "deny", "owner": (5, 6)}
    said = unshare.describe(UnshareOptions(argv=("true",), namespaces=("user",), **fields))

    assert said == [
        "setgroups none",
        "setgid 6",
        "setuid 5",
        "unshare user",
        "write 'deny' > /proc/self/setgroups",
        f"write '0 5 1' > /proc/{os.getpid()}/uid_map",
        f"write '0 5 1' > /proc/{os.getpid()}/gid_map",
        "exec true",
    ]


def test_maps_of_more_than_oneself_are_written_from_outside() -> None:
    ranges = (IdRange(inner=0, outer=100000, count=65536),)
    said = unshare.describe(
        UnshareOptions(argv=("true",), namespaces=("user",), users=ranges, groups=ranges)
    )

    assert said == [
        "unshare user",
        f"write '0 100000 65536' > /proc/{os.getpid()}/uid_map",
        f"write '0 100000 65536' > /proc/{os.getpid()}/gid_map",
        "exec true",
    ]


def test_nothing_is_asked_for() -> None:
    assert unshare.describe(UnshareOptions(argv=("true",))) == ["exec true"]


@pytest.mark.parametrize("path", [None, "/x\udcff"])
def test_errors_survive_a_pipe(path: str | None) -> None:
    error = KernelError("exec x: no such file", operation="exec", path=path, errno=2)

    again = forking.decode(forking.encode(error))

    assert (again.message, again.operation, again.path, again.errno) == (
        error.message,
        error.operation,
        error.path,
        error.errno,
    )
