"""`python -m tests.bench [NAME...] [--write]`: measure, print the table, keep it on request."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from . import command, container, freeze, group, imports, report, spawn, stats, systemd, table
from .place import Bench, NotHere

MEASUREMENTS = {
    "group": group,
    "stats": stats,
    "freeze": freeze,
    "imports": imports,
    "spawn": spawn,
    "container": container,
    "command": command,
    "systemd": systemd,
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"no measurement {', '.join(unknown)}: there are {', '.join(MEASUREMENTS)}")
    if options.write and options.names:
        parser.error("--write keeps whole runs only")
    if os.geteuid() != 0:
        parser.error("it needs root, to make groups and containers")
    with Bench() as bench:
        machine = report.machine(bench.host.mode)
        taken, missing = run(bench, options.names or list(MEASUREMENTS))
    print(machine)
    print(table.text([row for one in taken for row in one.rows]))
    for item in missing:
        print(f"not measured: {item.name}: {item.why}")
    if options.write:
        report.write(taken, missing, machine)


def run(bench: Bench, names: Sequence[str]) -> tuple[list[report.Taken], list[table.Missing]]:
    """Take measurements; progress goes to stderr."""
    taken: list[report.Taken] = []
    missing: list[table.Missing] = []
    for name in names:
        module = MEASUREMENTS[name]
        begin = time.monotonic()
        try:
            taken.append(report.Taken(module.measure(bench), module.HOW, module.SPENT))
        except NotHere as error:
            missing.append(table.Missing(name, str(error)))
        print(f"{name}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
    return taken, missing


if __name__ == "__main__":
    main(sys.argv[1:])
