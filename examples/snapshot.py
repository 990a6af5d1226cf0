"""Take a consistent copy of files that a running program keeps changing: freeze, copy, thaw.

    python examples/snapshot.py

A writer keeps two files equal.  Copied while it runs, they could differ; copied while it is frozen,
between two of its writes to both, they can only differ by the one write that was under way, which
the program's journal (the second file) completes.
"""

import shutil
import tempfile
from pathlib import Path

import cgmgr

WRITER = """
n=0
while :; do n=$((n+1)); echo $n > journal; echo $n > data; done
"""


def main() -> int:
    manager = cgmgr.Manager()
    with tempfile.TemporaryDirectory() as folder, manager.group(memory="64M") as group:
        group.popen(["sh", "-c", WRITER], cwd=folder)
        journal, data = Path(folder, "journal"), Path(folder, "data")
        while not data.exists():
            group.wait_for_change(0.01)
        group.freeze()
        try:
            copies = [shutil.copy(file, f"{file}.copy") for file in (journal, data)]
        finally:
            group.thaw()
        numbers = [int(Path(copy).read_text() or 0) for copy in copies]
        print(f"journal {numbers[0]}, data {numbers[1]}: the copies agree")
        return 0 if 0 <= numbers[0] - numbers[1] <= 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
