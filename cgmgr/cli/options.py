"""Options and arguments that several commands have, with the same words for the same thing.

Law: types for typer to read; nothing runs here.
"""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A group: x is /cgmgr/x, a/b is /cgmgr/a/b, /x is /x; with systemd cgmgr-x.scope, "
        "cgmgr-a-b.scope, x.scope.",
        show_default=False,
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WORD=VALUE]...", help="Settings, such as memory=64M cpus=0.5."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")
]
BestEffort = Annotated[
    bool,
    typer.Option(
        "--best-effort",
        help="Report what this host cannot hold, alone or beside the rest, and hold the rest.",
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME|FILE",
        help="Settings of a policy, such as web or ./web.toml; words said here count more.",
    ),
]
Driver = Annotated[
    str,
    typer.Option(
        "--driver",
        metavar="NAME",
        help="How groups are made: auto (systemd where that is process 1), systemd, cgroupfs, "
        "dryrun.",
    ),
]
Property = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--property",
        metavar="PROPERTY=VALUE",
        help="A property as systemd-run takes it, such as MemoryMax=1G or RuntimeMaxSec=1h; what "
        "is no resource needs the systemd driver.",
    ),
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="How long to wait, such as 10s or 500ms.")
]
