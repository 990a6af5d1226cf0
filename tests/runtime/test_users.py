"""Who a user is, by a root file system's own files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cgmgr.errors import RequestError
from cgmgr.runtime import users
from cgmgr.runtime.users import Identity

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
# a comment
alice:x:1000:100:Alice:/home/alice:/bin/sh
broken:x:abc:1::/:
short:x:5
homeless:x:1001:1001:::
"""
GROUP = """\
root:x:0:
users:x:100:
adm:x:4:alice,bob
wheel:x:10:root,alice
bad:x:many:alice
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        pytest.param("", Identity(groups=(10,), home="/root"), id="nothing-is-root"),
        pytest.param("root", Identity(groups=(10,), home="/root"), id="root"),
        pytest.param(
            "alice", Identity(uid=1000, gid=100, groups=(4, 10), home="/home/alice"), id="name"
        ),
        pytest.param(
            "1000", Identity(uid=1000, gid=100, groups=(4, 10), home="/home/alice"), id="number"
        ),
        pytest.param("alice:adm", Identity(uid=1000, gid=4, home="/home/alice"), id="name-name"),
        pytest.param("alice:4", Identity(uid=1000, gid=4, home="/home/alice"), id="name-number"),
        pytest.param("4242", Identity(uid=4242), id="unknown-number"),
        pytest.param("4242:4343", Identity(uid=4242, gid=4343), id="unknown-numbers"),
        pytest.param(":adm", Identity(uid=0, gid=4, home="/root"), id="group-alone"),
        pytest.param(
            "alice:", Identity(uid=1000, gid=100, groups=(4, 10), home="/home/alice"), id="colon"
        ),
        pytest.param("homeless", Identity(uid=1001, gid=1001), id="no-home"),
    ],
)
def test_who(root: Path, text: str, identity: Identity) -> None:
    assert users.resolve(str(root), text) == identity


@pytest.mark.parametrize(
    "text", ["bob", "alice:nobody", "-1", "4294967295", "99999999999", "broken", "short", "٣"]
)
def test_who_is_not_there(root: Path, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        users.resolve(str(root), text)

    assert caught.value.value


def test_without_files_numbers_do(tmp_path: Path) -> None:
    assert users.resolve(str(tmp_path), "5:6") == Identity(uid=5, gid=6)
    with pytest.raises(RequestError, match="no entry"):
        users.resolve(str(tmp_path), "alice")


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../etc/passwd"])
def test_a_link_to_the_hosts_file_is_not_followed(tmp_path: Path, link: str) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").symlink_to("loop" if link == "/etc/passwd" else link)
    (root / "etc/loop").symlink_to("/etc/passwd")

    with pytest.raises(RequestError):
        users.resolve(str(root), "daemon")


def test_a_link_inside_is(root: Path) -> None:
    (root / "etc/passwd").rename(root / "real")
    (root / "etc/passwd").symlink_to("/real")

    assert users.resolve(str(root), "daemon").uid == 1


def test_a_fifo_does_not_block(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")

    with pytest.raises(RequestError, match="no plain file"):
        users.resolve(str(root), "0")


def test_a_huge_file_is_refused(root: Path) -> None:
    with (root / "etc/passwd").open("ab") as file:
        file.truncate(users.MOST_BYTES + 1)

    with pytest.raises(RequestError, match="no plain file"):
        users.resolve(str(root), "0")
