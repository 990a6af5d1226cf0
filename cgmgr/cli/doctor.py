"""`cgmgr doctor`: what this host can hold, what not, why, and the fix."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print JSON: a list of {subject, level (ok, note or no), text, fix}."
    ),
]


def doctor(json: Json = False) -> None:
    """What this host can hold, what it cannot, why, and what to paste to fix it."""
    from cgmgr.doctor import examine
    from cgmgr.host import Host

    from . import output

    findings = examine(Host.detect())
    if json:
        print(output.to_json(findings))
        return
    width = output.columns()
    size = max(len(finding.subject) for finding in findings)
    for finding in findings:
        first = f"{finding.level:<4}  {finding.subject:<{size}}  "
        indent = " " * len(first)
        if width < 60:
            first, indent = f"{finding.level:<4}  {finding.subject}: ", " " * 6
        for line in output.wrapped(finding.text, width, first, indent):
            print(line)
        for line in (finding.fix or "").splitlines():  # to be pasted: never folded
            print(f"      {line}")
