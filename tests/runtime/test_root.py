"""Paths in a root that may be hostile: nothing leads out, what is missing is made inside."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.runtime.root import Root, clean


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """`inside` is the root; `outside` is what nothing in it may reach."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


@pytest.fixture
def root(tree: Path) -> Iterator[Root]:
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield Root(fd)
    os.close(fd)


def ensure(root: Root, path: str, *, directory: bool = True) -> str:
    """Where it came to be."""
    fd = root.ensure(path, directory=directory)
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink())
    finally:
        os.close(fd)


def test_missing_directories_are_made(root: Root, tree: Path) -> None:
    assert ensure(root, "/a/b/c") == f"{tree}/a/b/c"
    assert (tree / "a/b/c").is_dir()


def test_a_missing_file_is_made_empty(root: Root, tree: Path) -> None:
    assert ensure(root, "/a/file", directory=False) == f"{tree}/a/file"
    assert (tree / "a/file").read_bytes() == b""


def test_what_is_there_stays(root: Root, tree: Path) -> None:
    (tree / "file").write_text("kept")

    assert ensure(root, "/file", directory=False) == f"{tree}/file"
    assert (tree / "file").read_text() == "kept"


LINKS = [
    pytest.param("/a", "/real", id="absolute"),
    pytest.param("/a", "real", id="relative"),
    pytest.param("/a", "../../../real", id="upwards"),
    pytest.param("/a", "/../../real", id="above-the-root"),
    pytest.param("/a", "x/../real", id="through-what-is-missing"),
]


@pytest.mark.parametrize(("link", "target"), LINKS)
@pytest.mark.parametrize("there", [True, False], ids=["there", "dangling"])
def test_links_stay_inside(root: Root, tree: Path, link: str, target: str, there: bool) -> None:
    if there:
        (tree / "real" / "sub").mkdir(parents=True)
        (tree / "x").mkdir()
    (tree / link.strip("/")).symlink_to(target)

    assert ensure(root, f"{link}/sub") == f"{tree}/real/sub"
    assert sorted(entry.name for entry in tree.parent.iterdir()) == ["inside", "outside"]


def test_a_link_to_the_host_is_a_path_inside(root: Root, tree: Path) -> None:
    (tree / "etc").symlink_to(tree.parent / "outside")

    assert ensure(root, "/etc/made") == f"{tree}{tree.parent}/outside/made"
    assert not (tree.parent / "outside" / "made").exists()


def test_a_file_behind_a_dangling_link(root: Root, tree: Path) -> None:
    (tree / "etc").mkdir()
    (tree / "etc/resolv.conf").symlink_to("../run/resolve/stub.conf")

    assert ensure(root, "/etc/resolv.conf", directory=False) == f"{tree}/run/resolve/stub.conf"


def test_dots_stop_at_the_root(root: Root, tree: Path) -> None:
    assert ensure(root, "/../../made") == f"{tree}/made"


@pytest.mark.parametrize("path", ["/loop", "/loop/below", "/first"])
def test_a_circle_of_links_is_an_error(root: Root, tree: Path, path: str) -> None:
    (tree / "loop").symlink_to("loop")
    (tree / "first").symlink_to("second")
    (tree / "second").symlink_to("first")

    with pytest.raises(OSError) as caught:
        root.ensure(path, directory=True)

    assert caught.value.errno == errno.ELOOP


def test_magic_links_are_refused(root: Root, tree: Path) -> None:
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            Root(proc).open("/self/root/etc")
    finally:
        os.close(proc)

    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("directory", "number"), [(True, errno.ENOTDIR), (False, errno.EISDIR)], ids=["file", "dir"]
)
def test_the_other_kind_is_an_error(root: Root, tree: Path, directory: bool, number: int) -> None:
    (tree / "file").write_text("")
    (tree / "folder").mkdir()

    with pytest.raises(OSError) as caught:
        root.ensure("/file" if directory else "/folder", directory=directory)

    assert caught.value.errno == number
    assert caught.value.filename in ("/file", "/folder")


def test_a_file_in_the_middle_is_an_error(root: Root, tree: Path) -> None:
    (tree / "file").write_text("")

    with pytest.raises(NotADirectoryError):
        root.ensure("/file/below", directory=True)


def test_exactly_means_no_link_on_the_way(root: Root, tree: Path) -> None:
    (tree / "real" / "proc").mkdir(parents=True)
    (tree / "link").symlink_to("real")
    (tree / "proc").symlink_to("real/proc")
    os.close(root.open_exact("/real/proc"))

    for path in ("/link/proc", "/proc"):
        with pytest.raises(OSError) as caught:
            root.open_exact(path)
        assert caught.value.errno == errno.ELOOP


def test_kinds(root: Root, tree: Path) -> None:
    (tree / "file").write_text("")
    (tree / "link").symlink_to("file")

    assert root.kind("/") == stat.S_IFDIR
    assert root.kind("/link") == stat.S_IFREG
    assert root.kind("/missing") is None


names = st.sampled_from(["..", ".", "a", "b", "link", "up", "abs", "outside"])


@given(st.lists(names, min_size=1, max_size=7), st.booleans())
def test_no_path_leads_out(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], directory: bool
) -> None:
    base = tmp_path_factory.mktemp("root")
    tree = base / "inside"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "up").symlink_to("../../..")
    (tree / "up").symlink_to("../../outside")
    (tree / "link").symlink_to("a/up/a")
    (tree / "abs").symlink_to(f"{base}")
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    try:
        made = ensure(Root(fd), "/" + "/".join(parts), directory=directory)
        assert f"{made}/".startswith(f"{tree}/")
    except OSError as error:
        assert error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
    finally:
        os.close(fd)

    assert [entry.name for entry in base.iterdir()] == ["inside"]


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/", "/"),
        ("//", "/"),
        ("//proc", "/proc"),
        ("/a/./b//c/", "/a/b/c"),
        ("/a/../../b", "/b"),
        ("relative", "/relative"),
        ("", "/"),
    ],
)
def test_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned
