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
        rules = (
            (self.propagation not in PROPAGATIONS, "--propagation", " or ".join(PROPAGATIONS)),
            (
                self.setgroups not in (None, *SETGROUPS),
                "--setgroups",
                " or ".join(SETGROUPS),
            ),
            (
                self.setgroups == "allow"
                and self.owner is None
                and self._maps_only_itself(self.groups),
                "--setgroups",
                "allow excludes a map of the caller's own group alone (user_namespaces(7))",
            ),
            (
                (self.monotonic is not None or self.boottime is not None)
                and "time" not in self.namespaces,
                "--monotonic and --boottime",
                "they need a time namespace, --time",
            ),
            (
                bool(self.users or self.groups or self.owner) and "user" not in self.namespaces,
                "--map-* and --owner",
                "it needs a user namespace, --user",
            ),
            (
                not (self.mount_proc is self.mount_binfmt is None)
                and "mount" not in self.namespaces,
                "--mount-proc and --mount-binfmt",
                "it needs a mount namespace, --mount",
            ),
            (
                (self.kill_child is not None or self.forward_signals) and not self.fork,
                "--kill-child and --forward-signals",
                "it needs --fork",
            ),
            (
                self.load_interp is not None and self.mount_binfmt is None,
                "--load-interp",
                "it needs a place for binfmt_misc, --mount-binfmt",
            ),
            (
                "pid" in dict(self.files) and not self.fork,
                "--pid=FILE",
                "it needs --fork: a pid namespace without a process cannot be kept",
            ),
        )
        for wrong, what, reason in rules:
            if wrong:
                raise RequestError(f"{what}: {reason}", operation=what)

    @staticmethod
    def _maps_only_itself(ranges: tuple[IdRange, ...]) -> bool:
        return len(ranges) == 1 and ranges[0].count == 1

    @property
    def program(self) -> tuple[str, ...]:
        """The command, else the user's shell."""
        shell = "" if self.clear_env else os.environ.get("SHELL")
        return self.argv or (shell or "/bin/sh",)

    @property
    def flags(self) -> int:
        return namespaces.flags(self.namespaces)
