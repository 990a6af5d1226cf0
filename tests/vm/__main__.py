"""A script in a guest, by hand: python -m tests.vm LAYOUT [SCRIPT]

SCRIPT is a file, else standard input; it runs by bash as root in the checkout of the guest, which
is prepared as for the tests.  Its output comes to standard output as it is written, its exit status
is this command's.  Nothing that the guest changes is kept.  Law: for people; no test uses it.
"""

import sys
import tempfile
from pathlib import Path

from . import guest, image, lane, stage

LIMIT_S = 60 * 60


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2 or arguments[0] not in guest.LAYOUTS:
        _say(f"{__doc__}\nLAYOUT is one of {', '.join(guest.LAYOUTS)}")
        return 64
    layout = arguments[0]
    text = Path(arguments[1]).read_text() if len(arguments) == 2 else sys.stdin.read()
    trouble = image.obstacle()
    if trouble:
        _say(trouble)
        return 69
    with tempfile.TemporaryDirectory(prefix="cgmgr-guest-") as place, image.held(_say) as disk:
        folder = guest.Folder(Path(place, "guest"))
        disks = stage.make(Path(place)).disks()
        shown = 0

        def look() -> None:
            nonlocal shown
            output = folder.read(folder.share / "output")
            sys.stdout.write(output[shown:])
            sys.stdout.flush()
            shown = len(output)

        script = f"{lane.prologue()}\nexport CGMGR_GUEST={layout}\nset +eu\n{text}"
        words = guest.command(disk, layout, folder, disks)
        ended = guest.run(words, folder, script, LIMIT_S, look)
        if ended.trouble:
            _say(f"{ended.trouble}\n{ended.console}")
    return ended.status if ended.status is not None else 70


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


sys.exit(main(sys.argv[1:]))
