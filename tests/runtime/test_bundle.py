"""A bundle's directory: made whole, removed whatever is in it."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.errors import HostError, KernelError, NameTaken
from cgmgr.runtime import bundle


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = str(tmp_path / "store")
    bundle.prepare_store(path)
    return path


def make(store: str, name: str = "web") -> str:
    return bundle.make(store, name, {"ociVersion": "1.2.0"}, ("/",))


def test_what_is_in_it(store: str) -> None:
    path = Path(make(store))

    assert sorted(e.name for e in path.iterdir()) == ["config.json", "merged", "upper", "work"]
    assert json.loads((path / "config.json").read_text()) == {"ociVersion": "1.2.0"}
    assert path.stat().st_mode & 0o777 == 0o700
    assert bundle.names(store) == ["web"]


def test_what_is_said_is_what_is_made(store: str) -> None:
    """The commands but for the last, which writes the config.json, done by a shell."""
    *commands, last = bundle.describe(store, "said", ("/usr",))
    subprocess.run(["sh", "-ec", "\n".join(commands)], check=True)
    made = Path(bundle.make(store, "made", {}, ("/usr",)))

    def shape(folder: Path) -> set[tuple[str, int, int, int]]:
        return {
            (str(path.relative_to(folder)), status.st_mode, status.st_uid, status.st_gid)
            for path in (folder, *folder.rglob("*"))
            for status in [path.stat()]
            if path.name != bundle.CONFIG
        }

    assert last == f"write {store}/said/config.json"
    assert shape(Path(store, "said")) == shape(made)


def test_a_name_is_taken_once(store: str) -> None:
    make(store)

    with pytest.raises(NameTaken, match="web"):
        make(store)


def test_removed_and_removed_again(store: str) -> None:
    path = make(store)

    bundle.remove(path)
    bundle.remove(path)

    assert bundle.names(store) == []
    assert bundle.names(store + "/missing") == []


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """As many as are open, and a hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_nested_deeper_than_a_path_may_be_long(store: str) -> None:
    path = make(store)
    fd = os.open(f"{path}/upper", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)

    try:
        bundle.remove(path)
        assert bundle.names(store) == []
    finally:  # what is left after a failure is too deep for pytest to remove
        subprocess.run(["rm", "-rf", path], check=True)


def test_links_are_not_followed(store: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    path = make(store)
    Path(path, "upper/out").symlink_to(tmp_path / "outside")
    Path(path, "upper/gone").symlink_to("/nonexistent")

    bundle.remove(path)

    assert (tmp_path / "outside" / "kept").read_text() == "kept"


def test_odd_names_and_kinds(store: str) -> None:
    path = make(store)
    upper = Path(path, "upper")
    for name in (b"\xff\xfe", b"-rf", b"a\nb", b".trash-1", b" "):
        Path(os.fsdecode(os.fsencode(str(upper)) + b"/" + name)).mkdir()
    os.mkfifo(upper / "fifo")
    closed = upper / "closed"
    closed.mkdir()
    (closed / "file").write_text("")
    closed.chmod(0)

    bundle.remove(path)

    assert bundle.names(store) == []


def test_a_failure_half_way_leaves_nothing(store: str) -> None:
    with pytest.raises(TypeError):
        bundle.make(store, "web", {"unfit": object()}, ("/",))

    assert bundle.names(store) == []


def test_a_missing_layer_leaves_nothing(store: str) -> None:
    with pytest.raises(KernelError) as caught:
        bundle.make(store, "web", {}, ("/nonexistent",))

    assert caught.value.errno == errno.ENOENT
    assert bundle.names(store) == []


def test_a_store_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)

    with pytest.raises(HostError) as caught:
        bundle.prepare_store(str(tmp_path / "store"))

    assert "chmod" in (caught.value.hint or "")


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")

    with pytest.raises(KernelError) as caught:
        bundle.prepare_store(str(tmp_path / "store"))

    assert caught.value.errno == errno.EEXIST


def test_held_until_let_go(store: str) -> None:
    path = make(store)
    fd = bundle.hold(path)
    assert bundle.held(path)

    os.close(fd)

    assert not bundle.held(path)
    assert not bundle.held(store + "/missing")
