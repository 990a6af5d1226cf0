"""The kernel's log of those that it killed for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr.oom_log import OomLog, pid_of

TAIL = b" (python3) total-vm:218764kB, anon-rss:64896kB\n SUBSYSTEM=x\n"


@pytest.mark.parametrize(
    ("record", "pid"),
    [
        (b"3,1,2,-;Memory cgroup out of memory: Killed process 25039" + TAIL, 25039),
        (b"3,1,2,-;Out of memory: Killed process 7" + TAIL, 7),
        (b"6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=python3,pid=25039,uid=0\n", None),
        (b"12,1,2,-;Out of memory: Killed process 7" + TAIL, None),
        (b"3,1,2,-;init: Out of memory: Killed process 7" + TAIL, None),
        (b"3,1,2,-;Out of memory: Killed process x" + TAIL, None),
        (b"", None),
    ],
    ids=["group", "host", "another line", "by a program", "quoted", "no number", "empty"],
)
def test_a_record(record: bytes, pid: int | None) -> None:
    assert pid_of(record) == pid


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    log = OomLog(str(tmp_path / "none"))
    assert log.killed() is None
    log.close()
