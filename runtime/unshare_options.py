"""What unshare is asked for, as a record.

Law: values and which of them go together; how they are done is `cgmgr.runtime.unshare`'s.

Source: unshare(1) of util-linux 2.42, user_namespaces(7).
"""

from __future__ import annotations

import os

from cgmgr.errors import RequestError
from cgmgr.record import Record

from . import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from .idmaps import IdRange

PROPAGATIONS: Final = ("private", "shared", "slave", "unchanged")
SETGROUPS: Final = ("allow", "deny")


class UnshareOptions(Record):
    """What is asked for.  `namespaces` are OCI's names; `files` are (namespace, file) to keep.

    `kill_child` is the signal that the child gets when this process dies; with `forward_signals`
    it gets this process's SIGINT and SIGTERM.  `monotonic` and `boottime` are offsets in seconds.
    `users` and `groups` are id maps; one that maps only the caller's own id needs no privilege.
    `owner` is the user and group whom the user namespace belongs to.  `load_interp` is a line for
    binfmt_misc (Linux 6.7), which is mounted at `mount_binfmt`.
    """

    argv: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    fork: bool = False
    kill_child: int | None = None
    forward_signals: bool = False
    mount_proc: str | None = None
    mount_binfmt: str | None = None
    load_interp: str | None = None
    users: tuple[IdRange, ...] = ()
    groups: tuple[IdRange, ...] = ()
    owner: tuple[int, int] | None = None
    setgroups: str | None = None
    propagation: str = "private"
    root: str | None = None
    wd: str | None = None
    setuid: int | None = None
    setgid: int | None = None
    keep_caps: bool = False
    monotonic: int | None = None
    boottime: int | None = None
    clear_env: bool = False

    def check(self) -> None:
        """Refuse words that are none, and what is of no use without something else.

        Called when the record is made.  Raises `RequestError` that names the option.
        """
        for name in self.namespaces:
            namespaces.named(name)
        for wrong, what, reason in RULES:
            if wrong(self):
                raise RequestError(f"{what}: {reason}", operation=what)

    @property
    def program(self) -> tuple[str, ...]:
        """The command, else the user's shell."""
        shell = "" if self.clear_env else os.environ.get("SHELL")
        return self.argv or (shell or "/bin/sh",)

    @property
    def flags(self) -> int:
        return namespaces.flags(self.namespaces)


#: what is wrong, the options that it is about, and why
RULES: Final[tuple[tuple[Callable[[UnshareOptions], bool], str, str], ...]] = (
    (lambda o: o.propagation not in PROPAGATIONS, "--propagation", " or ".join(PROPAGATIONS)),
    (lambda o: o.setgroups not in (None, *SETGROUPS), "--setgroups", " or ".join(SETGROUPS)),
    (
        lambda o: (
            o.setgroups == "allow" and o.owner is None and [one.count for one in o.groups] == [1]
        ),
        "--setgroups",
        "allow excludes a map of the caller's own group alone (user_namespaces(7))",
    ),
    (
        lambda o: (o.monotonic, o.boottime) != (None, None) and "time" not in o.namespaces,
        "--monotonic and --boottime",
        "they need a time namespace, --time",
    ),
    (
        lambda o: bool(o.users or o.groups or o.owner) and "user" not in o.namespaces,
        "--map-* and --owner",
        "it needs a user namespace, --user",
    ),
    (
        lambda o: (o.mount_proc, o.mount_binfmt) != (None, None) and "mount" not in o.namespaces,
        "--mount-proc and --mount-binfmt",
        "it needs a mount namespace, --mount",
    ),
    (
        lambda o: (o.forward_signals or o.kill_child is not None) and not o.fork,
        "--kill-child and --forward-signals",
        "it needs --fork",
    ),
    (
        lambda o: o.load_interp is not None and o.mount_binfmt is None,
        "--load-interp",
        "it needs a place for binfmt_misc, --mount-binfmt",
    ),
    (
        lambda o: "pid" in dict(o.files) and not o.fork,
        "--pid=FILE",
        "it needs --fork: a pid namespace without a process cannot be kept",
    ),
)
