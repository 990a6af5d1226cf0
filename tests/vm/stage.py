"""The checkout and its test tools on a disk for the guests, which have no network.

Law: copies only; the checkout is not changed.  In the guest it lies at PLACE with a .venv of the
guest's own python, so that what works here by `.venv/bin/...` works there by the same words.
"""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PLACE = "/srv/cgmgr"
TOOLS = ("pytest", "hypothesis", "cgmgr")
"""What the tests import; what these require comes with them."""

_NOT_COPIED = (".git", ".venv", ".*_cache", ".cache", ".hypothesis", "build", "dist", "*.egg-info")
_ROOM_BYTES = 512 << 20


class Stage:
    """The disk, and one that is empty, for weights."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout.img"
        self.weighted = folder / "weighted.img"

    def disks(self) -> dict[str, Path]:
        return {"checkout": self.checkout, "weighted": self.weighted}


def make(folder: Path) -> Stage:
    stage = Stage(folder)
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    _make_venv(tree / ".venv")
    # Compiling is slow under emulation.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", str(tree)], check=False, capture_output=True
    )
    with stage.checkout.open("wb") as disk:
        disk.truncate(_size(tree) + _ROOM_BYTES)
    mkfs = ["/usr/sbin/mkfs.ext4", "-q", "-E", "lazy_itable_init=0,root_owner=0:0"]
    mkfs += ["-O", "^has_journal", "-d", str(tree), str(stage.checkout)]
    subprocess.run(mkfs, check=True, capture_output=True)
    shutil.rmtree(tree)
    with stage.weighted.open("wb") as disk:
        disk.truncate(64 << 20)
    return stage


def _make_venv(venv: Path) -> None:
    site = venv / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (venv / "bin").mkdir()
    for name in ("python", "python3"):
        (venv / "bin" / name).symlink_to("/usr/bin/python3")
    # The system's packages are seen too: pydbus and gi are there only.
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    (site / "checkout.pth").write_text(f"{PLACE}\n")
    for name in closure(TOOLS):
        _copy(metadata.distribution(name), site)
    here = Path(sys.executable).parent / "cgmgr"
    _, _, rest = here.read_text().partition("\n")
    (venv / "bin/cgmgr").write_text(f"#!{PLACE}/.venv/bin/python3\n{rest}")
    (venv / "bin/cgmgr").chmod(0o755)


def closure(names: tuple[str, ...]) -> list[str]:
    """These distributions and all that they require here, extras left out."""
    found: dict[str, None] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found[name] = None
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return sorted(found)


def _copy(distribution: metadata.Distribution, site: Path) -> None:
    """Its files below site-packages; not its programs, nor the finder of an editable install."""
    for file in distribution.files or ():
        if file.parts[0] == ".." or "__editable__" in file.name:
            continue
        source = Path(str(file.locate()))
        if source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, site / file)


def _size(tree: Path) -> int:
    return sum(file.lstat().st_size for file in tree.rglob("*") if not file.is_dir())
