"""The guests' disk: where it comes from, and that it is there whole or not at all."""

import fcntl
import os
from pathlib import Path

import pytest

from .vm import image

TARGETS = {
    "debian": ("http://a/debian/ bookworm main Debian", "deb http://a/debian/ bookworm main"),
    "not asked yet": ("http://a/ bookworm main $(ORIGIN)", "deb http://a/ bookworm main"),
    "updates": ("http://a/ bookworm-updates main Debian", "deb http://a/ bookworm-updates main"),
    "another release": ("http://a/ trixie main Debian", ""),
    "another component": ("http://a/ bookworm contrib Debian", ""),
    "somebody else's": ("http://a/ bookworm main Somebody Else", ""),
    "no origin": ("http://a/ bookworm main", ""),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("target", "line"), TARGETS.values(), ids=TARGETS)
def test_sources_are_those_of_debian_12(target: str, line: str) -> None:
    assert image.source_lines([target, target], signed_by_keyring=False) == ([line] if line else [])


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A cache of its own, and builds that only make a folder; where they did is listed."""
    found: list[Path] = []

    def build(folder: Path) -> None:
        found.append(folder)
        (folder / "root").mkdir()
        (folder / "disk.img").touch()

    monkeypatch.setenv("CGMGR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image, "name", lambda: "guest-now")
    monkeypatch.setattr(image, "_build", build)
    return found


def test_image_is_built_once(builds: list[Path]) -> None:
    said: list[str] = []
    for _ in range(2):
        with image.held(said.append) as found:
            assert found.disk.exists()

    assert len(builds) == 1
    assert len(said) == 2
    assert sorted(entry.name for entry in image.cache().iterdir()) == ["guest-now", "guest.lock"]


def test_failed_build_leaves_nothing(builds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Path) -> None:
        (folder / "disk.img").touch()
        raise image.ImageError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(image, "_build", build)
        with pytest.raises(image.ImageError), image.held(print):
            pass
    assert [entry.name for entry in image.cache().iterdir()] == ["guest.lock"]

    with image.held(print) as found:
        assert found.disk.exists()
    assert len(builds) == 1


@pytest.mark.parametrize("left", ["guest-now.new", "guest-before", "guest-before.new"])
def test_what_nobody_uses_is_removed(left: str, builds: list[Path]) -> None:
    (image.cache() / left / "root").mkdir(parents=True)

    with image.held(print):
        assert not (image.cache() / left).exists()
    assert len(builds) == 1


def test_image_in_use_stays(builds: list[Path]) -> None:
    before = image.cache() / "guest-before"
    before.mkdir(parents=True)
    hold = os.open(before, os.O_RDONLY)
    try:
        fcntl.flock(hold, fcntl.LOCK_SH)
        with image.held(print):
            assert before.exists()
    finally:
        os.close(hold)
    assert len(builds) == 1


def test_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGMGR_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert image.cache() == Path("/a")
    monkeypatch.delenv("CGMGR_CACHE")
    assert image.cache() == Path("/b/cgmgr")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert image.cache() == Path.home() / ".cache/cgmgr"


def no_program(_name: str, path: str = "") -> None:
    """As shutil.which() where there is nothing."""


OBSTACLES: dict[str, tuple[str, object, str]] = {
    "another machine": ("platform.machine", lambda: "aarch64", "this machine is aarch64"),
    "another python": ("sys.version_info", (3, 12, 1), "the test tools here are for 3.12"),
    "no program": ("shutil.which", no_program, "needs qemu-system-x86_64, mmdebstrap"),
}


@pytest.mark.parametrize(("what", "as_if", "wanted"), OBSTACLES.values(), ids=OBSTACLES)
def test_obstacle(
    what: str, as_if: object, wanted: str, monkeypatch: pytest.MonkeyPatch, builds: list[Path]
) -> None:
    monkeypatch.setattr(f"{image.__name__}.{what}", as_if)

    assert wanted in image.obstacle()
    assert not builds


def test_without_root_there_is_no_build(
    monkeypatch: pytest.MonkeyPatch, builds: list[Path]
) -> None:
    monkeypatch.setattr(image, "PROGRAMS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert image.obstacle().startswith("needs root to build the guests' disk")

    (image.cache() / "guest-now").mkdir(parents=True)
    assert image.obstacle() == ""
    assert not builds
