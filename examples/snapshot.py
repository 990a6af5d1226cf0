"""Take a consistent copy of files that a running program keeps changing: freeze, copy, thaw.

    python examples/snapshot.py

A writer counts into two files, the first one first.  Copied one after the other while it runs, they
may be many steps apart; copied while it is frozen, at most by the one step that was under way.
"""

import shutil
import tempfile
from pathlib import Path

import cgmgr
from cgmgr.spawn import PIPE

WRITER = """
n=0
while :; do
    n=$((n+1))
    echo $n > first.new && mv first.new first
    echo $n > second.new && mv second.new second
    [ $n != 3 ] || echo started
done
"""


def main() -> int:
    manager = cgmgr.Manager()
    with (
        tempfile.TemporaryDirectory() as folder,
        manager.group(memory="64M") as group,
        group.popen(["sh", "-c", WRITER], cwd=folder, stdout=PIPE) as writer,
    ):
        assert writer.stdout is not None
        writer.stdout.readline()
        group.freeze()
        try:
            copies = [shutil.copy(Path(folder, name), f"{folder}/{name}.copy") for name in FILES]
        finally:
            group.thaw()
        first, second = (int(Path(copy).read_text()) for copy in copies)
        print(f"first {first}, second {second}")
        writer.kill()
        return 0 if 0 <= first - second <= 1 else 1


FILES = ("first", "second")

if __name__ == "__main__":
    raise SystemExit(main())
