"""`cgmgr doctor`: what this host can hold, what not, why, and the fix."""

from __future__ import annotations

from .options import Json


def doctor(json: Json = False) -> None:
    """What this host can hold, what it cannot, why, and what to paste to fix it.

    With --json: a list of {subject, level (ok, note or no), text, fix}.
    """
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
        if len(first) > width // 2:
            first = f"{finding.level:<4}  {finding.subject}: "
        indent = " " * min(len(first), 6)
        for line in output.wrapped(finding.text, width, first, " " * min(len(first), size + 8)):
            print(line)
        for line in (finding.fix or "").splitlines():
            print(f"{indent}{line}")
