"""The options of `run` and `unshare`: their grammar, from tables.

Law: words in, values out; what a value means is the command's business.  The grammar is that of
docker's command line (github.com/spf13/pflag): ``--name value``, ``--name=value``, ``-n value``,
``-nvalue``, ``-n=value``, switches together as ``-it`` and ``--name=false``; options end at the
first word that is none, or at ``--``; of an option given twice the last counts, unless it is one to
repeat.  An option with an optional value takes it behind ``=`` only, as getopt_long(3) has it.
"""

from __future__ import annotations

from cgmgr.record import Record

from .failing import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

#: Go's strconv.ParseBool
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")


class Flag(Record):
    """One option.

    `value` is how help names its value; "" makes it a switch.  `many` may be repeated.  `optional`
    may come without its value, and is then "".
    """

    name: str
    short: str = ""
    value: str = ""
    many: bool = False
    optional: bool = False
    help: str = ""

    @property
    def spelling(self) -> str:
        """As in the first column of help."""
        long = f"--{self.name}" if self.name else ""
        names = ", ".join(part for part in (self.short and f"-{self.short}", long) if part)
        if self.optional:
            return f"{names}[={self.value}]"
        return f"{names} {self.value}" if self.value else names


class Section(Record):
    """Options under one heading of the help."""

    title: str
    flags: tuple[Flag, ...]


class Given:
    """What one command line said.  `options` are the words up to the end of the options,
    `rest` those after it."""

    def __init__(self) -> None:
        self.rest: list[str] = []
        self.options: list[str] = []
        self._texts: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._texts or name in self._switches

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self._switches.get(name, False)

    def one(self, name: str) -> str | None:
        """The option's value, None where it was not given."""
        texts = self._texts.get(name)
        return texts[-1] if texts else None

    def all(self, name: str) -> list[str]:
        """The values of an option that may be repeated, in their order."""
        return list(self._texts.get(name, ()))

    def put(self, flag: Flag, text: str) -> None:
        if flag.many:
            self._texts.setdefault(flag.name, []).append(text)
        else:
            self._texts[flag.name] = [text]

    def switch(self, flag: Flag, text: str | None) -> None:
        if text is not None and text not in _TRUE + _FALSE:
            raise UsageError(f"invalid value {text!r} for --{flag.name}: write true or false")
        self._switches[flag.name] = text is None or text in _TRUE


class Grammar:
    """The options of one command.

    `absent` are options that people know from elsewhere and will not find here, with the reason;
    `command` is how to call for help.
    """

    def __init__(
        self, command: str, sections: Sequence[Section], absent: Mapping[str, str] | None = None
    ) -> None:
        self.command = command
        self.sections = sections
        self.absent: Mapping[str, str] = absent if absent is not None else {}
        flags = [flag for section in sections for flag in section.flags]
        self.long = {flag.name: flag for flag in flags}
        self.short = {flag.short: flag for flag in flags if flag.short}

    def parse(self, words: Iterable[str]) -> Given:
        """Raises `UsageError`."""
        given = Given()
        said = list(words)
        left = list(said)
        while left:
            word = left[0]
            if word == "-" or not word.startswith("-"):
                break
            del left[0]
            if word == "--":
                break
            if word.startswith("--"):
                self._take_long(given, word, left)
            else:
                self._take_short(given, word, left)
        given.rest = left
        given.options = said[: len(said) - len(left)]
        return given

    def _take_long(self, given: Given, word: str, left: list[str]) -> None:
        name, equals, text = word[2:].partition("=")
        flag = self.long.get(name)
        if flag is None:
            raise self._unknown(f"--{name}")
        self._take(given, flag, f"--{name}", text if equals else None, left)

    def _take_short(self, given: Given, word: str, left: list[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.short.get(letter)
            if flag is None:
                raise self._unknown(f"-{letter}", f" in {word}" if len(word) > 2 else "")
            text = None
            if letters.startswith("=") or (flag.value and not flag.optional and letters):
                text, letters = letters.removeprefix("="), ""
            self._take(given, flag, f"-{letter}", text, left)

    def _take(
        self, given: Given, flag: Flag, spelling: str, text: str | None, left: list[str]
    ) -> None:
        if not flag.value:
            given.switch(flag, text)
        elif text is not None:
            given.put(flag, text)
        elif flag.optional:
            given.put(flag, "")
        elif left:
            given.put(flag, left.pop(0))
        else:
            raise UsageError(f"{spelling} needs a value: {flag.spelling}", hint=self._help)

    def _unknown(self, spelling: str, where: str = "") -> UsageError:
        name = spelling.lstrip("-")
        if name in self.absent:
            return UsageError(f"there is no {spelling}: {self.absent[name]}", hint=self._help)
        near = self._near(name) if spelling.startswith("--") else None
        also = f", did you mean --{near}?" if near else ""
        return UsageError(f"unknown option {spelling}{where}{also}", hint=self._help)

    def _near(self, name: str) -> str | None:
        from difflib import get_close_matches

        return next(iter(get_close_matches(name, list(self.long), 1)), None)

    @property
    def _help(self) -> str:
        return f"{self.command} --help"

    def help(self, columns: int) -> list[str]:
        """The options as lines that fit."""
        from textwrap import wrap

        lines: list[str] = []
        for section in self.sections:
            lines += ["", *wrap(f"{section.title}:", columns)]
            for flag in section.flags:
                lines += _entry(flag, columns)
        return lines


def _entry(flag: Flag, columns: int) -> list[str]:
    from textwrap import wrap

    indent = 28 if columns >= 70 else 6
    first = f"  {'    ' if not flag.short else ''}{flag.spelling}"
    text = wrap(flag.help, max(columns - indent, 20)) or [""]
    if columns >= 70 and len(first) <= indent - 2:
        return [f"{first:<{indent}}{text[0]}", *(" " * indent + line for line in text[1:])]
    return [first, *(" " * indent + line for line in text)]
