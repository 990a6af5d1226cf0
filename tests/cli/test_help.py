"""Help that fits, and that says what comes out."""

from __future__ import annotations

import json

import pytest

from cgmgr.cli import main, output

WIDTH = 40


@pytest.mark.parametrize("command", ["run", "unshare"])
def test_it_fits(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []
    assert lines[0].startswith(f"Usage: cgmgr {command} [OPTION]...")


def test_prose_is_folded_and_usage_keeps_its_lines() -> None:
    text = "Usage: a [X]...\n       a --b X\n\nOne two\nthree."
    assert output.prose(text, 1000) == ["Usage: a [X]...", "       a --b X", "", "One two three."]
    assert output.prose("word " * 100, 1000)[0] == ("word " * 16).rstrip()
    narrow = output.prose("Usage: a [OPTION]... WORD...\n\n" + "word " * 8, 30)
    assert narrow == [
        "Usage: a [OPTION]... WORD...",
        "",
        "word word word word word word",
        "word word",
    ]


def test_json_is_described(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor", "--json"]) == 0
    keys = set(json.loads(capsys.readouterr().out)[0])
    assert main(["doctor", "--help"]) == 0
    told = capsys.readouterr().out
    assert [key for key in keys if key not in told] == []
