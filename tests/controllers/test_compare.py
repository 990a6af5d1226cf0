"""What the kernel prints for what was written, and what it rounds."""

from __future__ import annotations

import pytest

from cgmgr.controllers.compare import agree, rounded

CASES = [
    ("exact", "2", "2", True),
    ("exact", "1", "2", False),
    ("bytes", "4096", "4096", True),
    ("bytes", "4097", "4096", True),
    ("bytes", "4095", "0", False),
    ("bytes", "8192", "4096", False),
    ("bytes", "max", "max", True),
    ("bytes", "-1", "9223372036854771712", True),
    ("bytes", "9223372036854775807", "max", True),
    ("bytes", "max", "4096", False),
    ("bytes", "4096", "max", False),
    ("bytes/2097152", "5242880", "4194304", True),
    ("bytes/2097152", "5242880", "5242880", False),
    ("bytes/1073741824", "-1", "9223372035781033984", True),
    ("ids", "0,1,2", "0-2", True),
    ("ids", "0-1", "0-2", False),
    ("ids", "0", "", False),
    ("first", "max", "max 100000", True),
    ("first", "50000 20000", "50000 20000", True),
    ("first", "50000", "5000 20000", False),
    ("second", "1", "oom_kill_disable 1\nunder_oom 0", True),
    ("second", "0", "oom_kill_disable 1\nunder_oom 0", False),
    ("default", "200", "default 200\n8:0 50", True),
    ("default", "200", "200", True),
    ("default", "200", "default 20\n8:0 200", False),
    ("default", "200", "", False),
    ("line", "8:0 rbps=1", "8:0 rbps=1 wbps=max\n8:16 rbps=2", True),
    ("line", "8:0 rbps=1", "8:16 rbps=1", False),
    ("line", "8:0 rbps=max", "", True),
    ("line", "8:0 0", "", True),
    ("line", "8:0 5", "", False),
    ("line", "8:0 target=0", "8:16 target=5", True),
    ("line", "lo 7", "lo 7\neth0 0", True),
    ("line", "lo 7", "lo 0\neth0 7", False),
    ("lines", "c 1:3 rwm\nc 1:5 r", "c 1:5 r\nc 1:3 rwm", True),
    ("lines", "", "", True),
    ("lines", "c 1:3 rwm", "c 1:3 rw", False),
    ("raw", "64M", "67108864", True),
    ("raw", "64M", "67108865", False),
    ("raw", "1", "1", True),
    ("raw", "50000", "50000 100000", True),
    ("raw", "200", "default 200", True),
    ("raw", "default 200", "default 200\n8:0 7", True),
    ("raw", "8:0  rbps=5", "8:16 rbps=1\n8:0 rbps=5 wbps=max", True),
    ("raw", "8:0 rbps=5", "8:0 rbps=6", False),
    ("raw", "0,1", "0-1", True),
    ("raw", "0,1", "0", False),
    ("raw", "max", "max", True),
    ("raw", "max", "5", False),
    ("raw", "root", "member", False),
    ("raw", "", "", True),
    ("raw", "8:0 rbps=max", "", True),
    ("raw", "64M", "", False),
    ("raw", "", "0-1", False),
]


@pytest.mark.parametrize(
    ("name", "asked", "held", "answer"), CASES, ids=[f"{c[0]}:{c[1]}:{c[2]}" for c in CASES]
)
def test_agree(name: str, asked: str, held: str, answer: bool) -> None:
    assert agree(name, asked, held) == answer


@pytest.mark.parametrize(
    ("name", "asked", "held", "answer"),
    [
        ("bytes", "4097", "4096", True),
        ("bytes", "4096", "4096", False),
        ("bytes", "max", "9223372036854771712", False),
        ("bytes/2097152", "5242880", "4194304", True),
        ("exact", "1", "2", False),
    ],
)
def test_rounded(name: str, asked: str, held: str, answer: bool) -> None:
    assert rounded(name, asked, held) == answer
