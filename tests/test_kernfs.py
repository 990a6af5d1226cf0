"""Names, paths, and what the kernel's errnos become.  The real kernel is in tests/root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr import kernfs
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    GroupBusy,
    GroupGone,
    HostError,
    KernelError,
    NotDelegated,
    RequestError,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("a/b", "/a/b", id="relative"),
        pytest.param("/a/b/", "/a/b", id="trailing-slash"),
        pytest.param("/", "/", id="root"),
        pytest.param("", "/", id="nothing"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert kernfs.check_path(path) == expected


@pytest.mark.parametrize("path", ["/a/ b", "/-x/.y", "/memory.max", "/a\tb", "/\udcff", "/tasks"])
def test_paths_that_somebody_else_may_have_made(path: str) -> None:
    assert kernfs.check_path(path) == path


@pytest.mark.parametrize(
    "path", ["/a/../b", "a//b", "/a/./b", "../x", "/a\0", "/a\nb", "/" + "ü" * 128]
)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(RequestError):
        kernfs.check_path(path)


def test_family() -> None:
    assert kernfs.parent_of("/a/b") == "/a"
    assert kernfs.parent_of("/a") == "/"
    assert kernfs.ancestors_of("/a/b/c") == ["/", "/a", "/a/b"]
    assert kernfs.ancestors_of("/a") == ["/"]
    assert kernfs.ancestors_of("/") == []


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=4))
def test_join_is_the_inverse_of_taking_apart(names: list[str]) -> None:
    path = kernfs.join("/", *names)

    assert path == "/" + "/".join(names)
    assert kernfs.join(kernfs.parent_of(path), names[-1]) == path
    assert len(kernfs.ancestors_of(path)) == len(names)


@pytest.mark.parametrize(
    ("operation", "number", "kind"),
    [
        pytest.param("write", errno.EACCES, NotDelegated, id="no-permission"),
        pytest.param("write", errno.EPERM, NotDelegated, id="not-permitted"),
        pytest.param("create", errno.EROFS, HostError, id="read-only"),
        pytest.param("remove", errno.EBUSY, GroupBusy, id="busy-remove"),
        pytest.param("write", errno.EBUSY, KernelError, id="busy-write"),
        pytest.param("read", errno.ENODEV, GroupGone, id="gone"),
        pytest.param("write", errno.EINVAL, KernelError, id="invalid"),
    ],
)
def test_errnos(operation: str, number: int, kind: type[CgmgrError]) -> None:
    error = kernfs.translate(operation, "/sys/fs/cgroup/x/f", OSError(number, "?"), "12Q")

    assert type(error) is kind
    assert (error.operation, error.path) == (operation, "/sys/fs/cgroup/x/f")
    assert (error.value, error.errno) == ("12Q", number)
    assert str(error) == str(error).lower().replace("12q", "12Q")
    assert not str(error).endswith(".")


def test_a_read_only_mount_says_how_to_mend_it() -> None:
    error = kernfs.translate("create", "/sys/fs/cgroup/x", OSError(errno.EROFS, "?"))

    assert error.hint == "mount -o remount,bind,rw /sys/fs/cgroup"


@pytest.fixture
def tree(tmp_path: Path) -> kernfs.Tree:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cgroup.procs").write_text("")
    (tmp_path / "a" / "memory.max").write_text("max\n")
    return kernfs.Tree(str(tmp_path))


def test_reading(tree: kernfs.Tree) -> None:
    with tree.open("/a") as group:
        assert group.read("memory.max") == "max\n"
        assert group.try_read("memory.peak") is None
        assert group.has("memory.max")
        assert group.children() == ["b"]
        assert group.files() == ["cgroup.procs", "memory.max"]


def test_a_long_file_is_read_to_its_end(tree: kernfs.Tree, tmp_path: Path) -> None:
    text = "".join(f"{number}\n" for number in range(40_000))
    (tmp_path / "a" / "cgroup.procs").write_text(text)

    with tree.open("/a") as group:
        assert group.read("cgroup.procs") == text


def test_a_missing_file_names_its_controller(tree: kernfs.Tree) -> None:
    with tree.open("/a") as group, pytest.raises(ControllerUnavailable) as caught:
        group.write("pids.max", "3")

    assert caught.value.controller == "pids"
    assert caught.value.missing_at == tree.absolute("/a")
    assert caught.value.errno == errno.ENOENT


def test_a_file_is_never_created(tree: kernfs.Tree, tmp_path: Path) -> None:
    with tree.open("/a") as group, pytest.raises(CgmgrError):
        group.write("new", "1")

    assert not (tmp_path / "a" / "new").exists()


def test_a_removed_group_is_gone(tree: kernfs.Tree, tmp_path: Path) -> None:
    with tree.open("/a/b") as group:
        (tmp_path / "a" / "b").rmdir()
        with pytest.raises(GroupGone):
            group.read("memory.max")
    with pytest.raises(GroupGone):
        tree.open("/a/b")
    with pytest.raises(GroupGone):
        tree.rmdir("/a/b")
    assert not tree.exists("/a/b")


@pytest.mark.parametrize("by_steps", [False, True], ids=["openat2", "without-openat2"])
def test_no_link_leads_out(
    tree: kernfs.Tree, tmp_path: Path, by_steps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "in").symlink_to("a")
    if by_steps:

        def missing(*_args: object) -> int:
            raise OSError(errno.ENOSYS, "?")

        monkeypatch.setattr("cgmgr.linux.openat2", missing)

    for path in ("/out", "/in", "/in/b", "/a/../a", ".."):
        with pytest.raises(CgmgrError):
            tree.open(path)
    with tree.open("/a/b") as group:
        assert group.path == "/a/b"


def test_a_file_that_is_a_link_is_not_followed(tree: kernfs.Tree, tmp_path: Path) -> None:
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "memory.max")

    with tree.open("/a") as group:
        with pytest.raises(CgmgrError):
            group.read("link")
        with pytest.raises(CgmgrError):
            group.write("link", "1")
    assert (tmp_path / "a" / "memory.max").read_text() == "max\n"


def test_what_is_no_cgroup_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="not a cgroup file system"):
        kernfs.Tree(str(tmp_path), magic=0x63677270)
    with pytest.raises(KernelError, match="no such file"):
        kernfs.Tree(str(tmp_path / "none"))


def opened(folder: Path) -> list[str]:
    """What this process has open in a folder."""
    links = (os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())  # noqa: PTH115
    return [link for link in links if link.startswith(str(folder))]


def test_descriptors_are_closed(tmp_path: Path) -> None:
    tree = kernfs.Tree(str(tmp_path))
    tree.mkdir("/x")
    with tree.open("/x") as group:
        group.close()
    for _ in range(10):
        with pytest.raises(CgmgrError):
            tree.open("/nothing")
    tree.rmdir("/x")
    assert len(opened(tmp_path)) == 2, "the root, and the parent of what was made last"

    tree.close()
    tree.close()
    assert opened(tmp_path) == []
