"""The disk that every guest boots from: built once, kept in a cache outside the checkout.

Law: an image is there whole or not at all.  It is built beside its place and renamed into it, by
one builder at a time; who boots from it holds a lock on it, and what nobody holds and this
recipe does not name is removed.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from . import recipe

PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mkfs.ext4", "sfdisk", "setpriv", "unshare")
BUILD_LIMIT_S = 20 * 60

Say = Callable[[str], None]


class ImageError(Exception):
    """The image could not be built; says what went wrong, with the end of the log."""


class Image:
    """Files of a finished image."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk.img"
        self.second_disk = folder / "second.img"
        self.kernel = folder / "vmlinuz"
        self.initrd = folder / "initrd.img"


def cache() -> Path:
    said = os.environ.get("CGMGR_CACHE")
    if said:
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgmgr"


def obstacle() -> str:
    """Why this machine can have no guest, or nothing."""
    if platform.machine() != "x86_64":
        return f"the guests are x86_64, and this machine is {platform.machine()}"
    if sys.version_info[:2] != recipe.PYTHON:
        here = ".".join(str(part) for part in sys.version_info[:2])
        return f"the guests have Python 3.11, and the test tools here are for {here}"
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"needs {', '.join(missing)}: tools/setup.sh vm installs them, as root on Debian"
    if _place().is_dir():
        return ""
    if os.geteuid() != 0:
        return f"needs root to build the guests' disk, which is not in {cache()} yet"
    if not sources():
        return f"needs apt sources of Debian 12 ({recipe.RELEASE}) to build the guests' disk"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def sources() -> list[str]:
    """Where this machine's own apt has Debian 12 from, as lines of sources.list(5)."""
    if shutil.which("apt-get") is None:
        return []
    words = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", words, "Created-By: Packages"],
        check=False,
        capture_output=True,
        text=True,
    )
    return source_lines(said.stdout.splitlines(), Path(recipe.KEYRING).exists())


def source_lines(targets: Iterable[str], signed_by_keyring: bool) -> list[str]:
    """`targets`: address, suite, component, and origin, which apt leaves as it is if unknown."""
    options = f"[signed-by={recipe.KEYRING}] " if signed_by_keyring else ""
    fields = [line.split() for line in targets]
    wanted = [
        f"deb {options}{found[0]} {found[1]} main"
        for found in fields
        if len(found) >= 4
        and found[1] in recipe.SUITES
        and found[2] == "main"
        and found[3] in ("Debian", "$(ORIGIN)")
    ]
    return list(dict.fromkeys(wanted))


def name() -> str:
    return f"guest-{recipe.digest(_build, _fill)}"


def _place() -> Path:
    return cache() / name()


@contextlib.contextmanager
def held(say: Say) -> Generator[Image]:
    """The image, built if it is not there; nobody removes it meanwhile."""
    cache().mkdir(parents=True, exist_ok=True)
    place = _place()
    with _locked(cache() / "guest.lock", say):
        _remove_debris(cache(), keep=place)
        if not place.is_dir():
            say("building the guests' disk, once (Debian 12, some 2 minutes)")
            _build_beside(place)
            say(f"the guests' disk is in {place}")
        hold = os.open(place, os.O_RDONLY)
        fcntl.flock(hold, fcntl.LOCK_SH)
    try:
        yield Image(place)
    finally:
        os.close(hold)


@contextlib.contextmanager
def _locked(file: Path, say: Say) -> Generator[None]:
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that builds the guests' disk")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_debris(folder: Path, keep: Path) -> None:
    """What killed builders left, and images of other recipes that no guest boots from."""
    for found in folder.glob("guest-*"):
        if found == keep or not found.is_dir():
            continue
        hold = os.open(found, os.O_RDONLY)
        try:
            fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(hold)
        shutil.rmtree(found)


def _build_beside(place: Path) -> None:
    beside = place.with_name(f"{place.name}.new")
    beside.mkdir()
    try:
        _build(beside)
        shutil.rmtree(beside / "root")
        beside.rename(place)
    except BaseException:
        shutil.rmtree(beside)
        raise


def _build(folder: Path) -> None:
    root = folder / "root"
    _fill(folder, root)
    for path, text in recipe.SETTLED_FILES.items():
        (root / path).unlink(missing_ok=True)
        (root / path).write_text(text)
    shutil.copy(next(root.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    shutil.copy(next(root.glob("boot/initrd.img-*")), folder / "initrd.img")
    with (folder / "disk.img").open("wb") as disk:
        disk.truncate(recipe.DISK_BYTES)
    # Not lazy: a kernel that goes on formatting during the tests would disturb them.
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    _run(folder, "mkfs.ext4", "-q", "-E", lazy, "-d", str(root), str(folder / "disk.img"))
    with (folder / "second.img").open("wb") as disk:
        disk.truncate(recipe.SECOND_DISK_BYTES)
    _run(folder, "sfdisk", "-q", str(folder / "second.img"), text=recipe.SECOND_DISK)


def _fill(folder: Path, root: Path) -> None:
    """Debian into `root`, with our files in place before the packages are configured."""
    ours = folder / "ours"
    for path, (mode, text) in recipe.FILES.items():
        (ours / path).parent.mkdir(parents=True, exist_ok=True)
        (ours / path).write_text(text)
        (ours / path).chmod(mode)
    for path, target in recipe.LINKS.items():
        (ours / path).parent.mkdir(parents=True, exist_ok=True)
        (ours / path).symlink_to(target)
    (ours / recipe.JOB.strip("/")).mkdir(parents=True)
    acquire = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, check=True)
    (folder / "apt.conf").write_bytes(acquire.stdout)
    # The namespaces end with the command, and so do its mounts and whatever it started.
    apart = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--mount-proc"]
    useradd = f"useradd --root $1 -m -s /bin/bash -u {recipe.USER_ID} {recipe.USER}"
    _run(
        folder,
        *(
            *apart,
            "--kill-child",
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
        ),
        *("--aptopt", str(folder / "apt.conf")),
        *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*"),
        f"--include={','.join(recipe.PACKAGES)}",
        f"--essential-hook=sync-in {ours} /",
        f"--customize-hook={useradd}",
        *(recipe.RELEASE, str(root), *sources()),
    )
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    shutil.rmtree(ours)


def _run(folder: Path, program: str, *arguments: str, text: str = "") -> None:
    """One step of the build; its output is shown only if it fails."""
    command = [_program(program) or program, *arguments]
    environ = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    log = folder / "log"
    with log.open("w") as output:
        try:
            ended = subprocess.run(
                command,
                input=text,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                text=True,
                check=False,
                timeout=BUILD_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise ImageError(f"{program} did not end in {BUILD_LIMIT_S} s: {_end(log)}") from None
    if ended.returncode != 0:
        raise ImageError(f"{program} ended with {ended.returncode}:\n{_end(log)}")


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])
