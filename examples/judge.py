"""Run somebody's program under limits, and tell the ways in which it can end apart.

    python examples/judge.py [--seconds 2] [--memory 64M] COMMAND [ARGUMENT...]

Prints one word, as a judge of programming contests would: accepted, wrong-exit, time-limit,
memory-limit or crashed, and what it took.  Exit status 0 only for accepted.
"""

import argparse

import cgmgr
from cgmgr.units import format_bytes, format_usec


def verdict(result: cgmgr.Result) -> str:
    if result.oom:
        return "memory-limit"
    if result.timed_out:
        return "time-limit"
    if result.signal:
        return "crashed"
    return "accepted" if result.exit == 0 else "wrong-exit"


def main() -> int:
    parser = argparse.ArgumentParser(description="run a program under limits")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--memory", default="64M")
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER)
    options = parser.parse_args()

    command = [options.command, *options.arguments]
    result = cgmgr.run(
        command, timeout=options.seconds, memory=options.memory, swap=0, cpus=1, pids=64
    )
    print(
        verdict(result),
        f"cpu {format_usec(result.cpu_usage_usec or 0)}",
        f"peak {format_bytes(result.peak_memory_bytes or 0)}",
        sep="\t",
    )
    return 0 if verdict(result) == "accepted" else 1


if __name__ == "__main__":
    raise SystemExit(main())
