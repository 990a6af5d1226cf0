"""What is remembered of groups: round trips, orphans, and records that cannot be read."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import HostError, KernelError
from cgmgr.owner import Owner
from cgmgr.plan import Was
from cgmgr.rundir import GroupRecord, Rundir, default_root, way_to_a_root

NAME = "/cgmgr/x"
DEAD = Owner.of().replace(start_ticks=1)
EARLIER = Owner(boot_id="an earlier one", pid=1, start_ticks=1)


@pytest.fixture
def rundir(tmp_path: Path) -> Rundir:
    return Rundir(str(tmp_path / "run"))


def remember(rundir: Rundir, record: GroupRecord) -> None:
    with rundir.lock(record.name):
        rundir.save(record)


def file_of(rundir: Rundir) -> Path:
    return Path(rundir.path_of(NAME))


def orphans(rundir: Rundir) -> list[str]:
    return [record.name for record in rundir.records() if record.orphaned]


texts = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
owners = st.builds(
    Owner, boot_id=texts, pid=st.integers(1), start_ticks=st.integers(0), pid_namespace=texts
)
puts = st.builds(Was, key=texts, path=texts, file=texts, text=texts)
records = st.builds(
    GroupRecord,
    name=texts.map(lambda text: f"/{text}"),
    driver=texts,
    paths=st.dictionaries(texts, texts, max_size=3),
    resources=st.dictionaries(texts, texts, max_size=3),
    ephemeral=st.booleans(),
    implicit=st.booleans(),
    owner=st.none() | owners,
    created_usec=st.integers(0),
    before=st.none() | st.lists(puts, max_size=3).map(tuple),
    spare=st.booleans(),
)


@given(record=records)
def test_a_record_comes_back(tmp_path_factory: pytest.TempPathFactory, record: GroupRecord) -> None:
    rundir = Rundir(str(tmp_path_factory.getbasetemp() / "rundir-round-trip"))
    remember(rundir, record)
    try:
        assert rundir.load(record.name) == record
        assert rundir.records() == [record]
        assert rundir.damaged() == []
    finally:
        with rundir.lock(record.name):
            rundir.delete(record.name)
    assert rundir.load(record.name) is None
    assert list(Path(rundir.path).iterdir()) == []


def test_a_record_of_this_process() -> None:
    record = GroupRecord.of_this_process(name=NAME, driver="cgroupfs", ephemeral=True)

    assert record.owner == Owner.of()
    assert record.created_usec > 1_000_000 * 1_700_000_000
    assert not record.orphaned


@pytest.mark.parametrize(
    ("owner", "ephemeral", "orphaned"),
    [
        pytest.param(None, True, False, id="nobody's"),
        pytest.param(Owner.of(), True, False, id="its owner lives"),
        pytest.param(DEAD, True, True, id="its owner is dead"),
        pytest.param(DEAD, False, False, id="meant to stay"),
        pytest.param(EARLIER, True, True, id="of an earlier boot"),
        pytest.param(EARLIER, False, True, id="meant to stay, of an earlier boot"),
    ],
)
def test_orphans(rundir: Rundir, owner: Owner | None, ephemeral: bool, orphaned: bool) -> None:
    record = GroupRecord(name=NAME, driver="cgroupfs", owner=owner, ephemeral=ephemeral)
    remember(rundir, record)
    remember(rundir, GroupRecord(name="/other", driver="cgroupfs"))

    assert record.orphaned is orphaned
    assert orphans(rundir) == ([NAME] if orphaned else [])


def test_a_killed_process_leaves_an_orphan(rundir: Rundir) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with rundir.lock(NAME):
            rundir.save(GroupRecord.of_this_process(name=NAME, driver="x", ephemeral=True))
            os.write(writing, b".")
            signal.pause()
        os._exit(0)
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    assert orphans(rundir) == []

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert orphans(rundir) == [NAME]
    with rundir.lock(NAME, 0):
        rundir.delete(NAME)
    assert list(Path(rundir.path).iterdir()) == []


def test_what_a_later_version_adds_is_left_out(rundir: Rundir) -> None:
    record = GroupRecord.of_this_process(name=NAME, driver="x")
    remember(rundir, record)
    value = json.loads(file_of(rundir).read_text())
    file_of(rundir).write_text(json.dumps(value | {"colour": "blue"}))

    assert rundir.load(NAME) == record


def test_what_an_earlier_version_did_not_write_has_its_default(rundir: Rundir) -> None:
    remember(rundir, GroupRecord(name=NAME, driver="x"))
    file_of(rundir).write_text(json.dumps({"name": NAME, "driver": "x"}))

    assert rundir.load(NAME) == GroupRecord(name=NAME, driver="x")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param([], "it holds no object", id="a list"),
        pytest.param(None, "it holds no object", id="null"),
        pytest.param({"name": "/cgmgr/y"}, "it is the record of '/cgmgr/y'", id="another's"),
        pytest.param({"name": ""}, "it is no text", id="no name"),
        pytest.param({"driver": None}, "driver is missing or of another type", id="no driver"),
        pytest.param({"paths": []}, "paths is missing or of another type", id="paths no table"),
        pytest.param(
            {"paths": {"": 1}}, "paths is missing or of another type", id="a path no text"
        ),
        pytest.param({"ephemeral": 1}, "ephemeral is missing", id="a number for a truth"),
        pytest.param({"created_usec": True}, "created_usec is missing", id="a truth for a number"),
        pytest.param({"before": {}}, "before is no list", id="before no list"),
        pytest.param({"before": [["", "x"]]}, "no list of rows", id="before of something else"),
        pytest.param({"before": [["", "", "", 1]]}, "what is no text", id="a number before"),
        pytest.param({"owner": "me"}, "it holds no object", id="owner no table"),
        pytest.param({"owner": {"pid": 1}}, "boot_id is missing", id="half an owner"),
    ],
)
def test_a_record_that_says_something_else(rundir: Rundir, change: object, reason: str) -> None:
    record = GroupRecord.of_this_process(name=NAME, driver="x")
    remember(rundir, record)
    value = json.loads(file_of(rundir).read_text())
    changed = value | change if isinstance(change, dict) else change
    file_of(rundir).write_text(json.dumps(changed))

    with pytest.raises(HostError, match="damaged record") as caught:
        rundir.load(NAME)
    assert reason in str(caught.value)
    assert rundir.records() == []
    assert orphans(rundir) == []
    assert [damaged.path for damaged in rundir.damaged()] == [str(file_of(rundir))]
    [line] = rundir.sweep()
    assert reason in line
    assert rundir.load(NAME) is None


@pytest.mark.parametrize(
    ("uid", "environ", "root"),
    [
        pytest.param(0, {"XDG_RUNTIME_DIR": "/run/user/0"}, "/run/cgmgr", id="root"),
        pytest.param(2**31, {"XDG_RUNTIME_DIR": "/xdg/"}, "/xdg/cgmgr", id="a user"),
        pytest.param(2**31, {}, f"/run/user/{2**31}/cgmgr", id="unset"),
        pytest.param(2**31, {"XDG_RUNTIME_DIR": ""}, f"/run/user/{2**31}/cgmgr", id="empty"),
    ],
)
def test_default_root(uid: int, environ: dict[str, str], root: str) -> None:
    assert default_root(environ, uid) == root


@pytest.mark.parametrize(
    ("pid1", "uid", "hint"),
    [
        pytest.param("systemd", 7, "loginctl enable-linger 7 && export XDG", id="systemd"),
        pytest.param("init", 7, "mkdir -m 700 /tmp/run-$USER && export XDG", id="another"),
        pytest.param("init", 0, "mkdir -p /run", id="root"),
    ],
)
def test_the_way_to_a_place_for_records_is_this_hosts(pid1: str, uid: int, hint: str) -> None:
    assert way_to_a_root(pid1, uid).startswith(hint)


def test_a_user_without_a_place_for_records_can_read_and_not_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2**31)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    rundir = Rundir()

    assert rundir.load(NAME) is None
    assert rundir.records() == []
    assert rundir.sweep() == []
    with pytest.raises(KernelError, match="no such file") as caught, rundir.lock(NAME):
        pass
    assert "export XDG_RUNTIME_DIR=" in (caught.value.hint or "")


def test_what_is_under_way_is_noted_until_its_end(rundir: Rundir) -> None:
    record = GroupRecord.of_this_process(name=NAME, driver="x")
    with rundir.lock(NAME):
        rundir.note(record)
        assert rundir.load(NAME) is None
        assert rundir.noted(NAME) == record
        assert rundir.cut_short() == [], "somebody is at work with it"
        assert rundir.commit(NAME)
    assert (rundir.load(NAME), rundir.noted(NAME)) == (record, None)

    with rundir.lock(NAME):
        assert rundir.retract(NAME)
        assert not rundir.retract(NAME)
    assert (rundir.load(NAME), rundir.noted(NAME)) == (None, record)
    assert rundir.cut_short() == [record]
    assert rundir.sweep() == []

    with rundir.lock(NAME):
        rundir.end(NAME)
        assert not rundir.commit(NAME)
    assert list(Path(rundir.path).iterdir()) == []


def test_a_note_that_was_not_written_to_its_end_is_none(rundir: Rundir) -> None:
    remember(rundir, GroupRecord(name=NAME, driver="x"))
    note = file_of(rundir).with_suffix(".undo")
    note.write_text('{"name": "/cgm')

    assert rundir.noted(NAME) is None
    assert rundir.cut_short() == []
    assert len(rundir.sweep()) == 1
    assert not note.exists()
    assert rundir.load(NAME) is not None


def test_at_once_or_not_at_all(rundir: Rundir) -> None:
    with rundir.at_once(NAME) as mine, rundir.at_once(NAME) as too:
        assert (mine, too) == (True, False)
    with rundir.at_once(NAME) as again:
        assert again
