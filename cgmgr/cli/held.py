"""What the kernel holds of a group's settings, word by word.

Law: read back from the files that the controllers name for their plans, by the reader of such files
(`cgmgr.resources.files`); whether it is what was asked is for the plan's own steps to say.  No
setting has a formula here.
"""

from __future__ import annotations

import contextlib

from cgmgr.errors import CgmgrError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cgmgr.group import Group
    from cgmgr.record import Record
    from cgmgr.resources import Resources


def held(group: Group, drifted: set[str]) -> Resources:
    """Everything that the group's files say.

    The device filter of cgroup2 has no file: it is as asked, unless it is one of the words that
    `drifted`.
    """
    from cgmgr.controllers import TABLE
    from cgmgr.freezer import FROZEN
    from cgmgr.resources import Resources

    from . import groups

    found = Resources()
    for name, controller in TABLE.items():
        hierarchy = group.host.holder(name)
        if hierarchy is None or hierarchy.key not in group.paths:
            continue
        wanted = controller.observe(hierarchy.version, group.host.facts)
        found = found.merge(_read(group, hierarchy.key, hierarchy.version, wanted))
        if name == "devices" and hierarchy.version == 2 and "devices" not in drifted:
            found = found.replace(devices=group.resources.devices)
        if name == "perf_event":
            found = found.replace(perf_event=True)
    state = groups.state(group)
    return found.replace(frozen=state == FROZEN if state else None)


def _read(group: Group, key: str, version: int, files: tuple[str, ...]) -> Resources:
    from cgmgr.resources import Resources
    from cgmgr.resources.files import from_files

    directory = group.at(key)
    texts: dict[str, str] = {}
    for file in files:
        try:
            text = directory.try_read(file)
        except CgmgrError:  # one file that cannot be read is not the end of the others
            continue
        if text is not None:
            texts[file] = text
    with contextlib.suppress(CgmgrError):
        return from_files(version, texts)
    found = Resources()
    for file, text in texts.items():
        with contextlib.suppress(CgmgrError):
            found = found.merge(from_files(version, {file: text}))
    return found


def raw(group: Group) -> dict[str, str]:
    """The present text of the raw files that were asked for."""
    v2 = group.host.v2
    if v2 is None or v2.key not in group.paths:
        return {}
    directory = group.at(v2.key)
    texts = {raw.file: directory.try_read(raw.file) for raw in group.resources.unified}
    return {file: text.strip() for file, text in texts.items() if text is not None}


def drifted(group: Group, asked: Mapping[str, str]) -> set[str]:
    """The words of which the kernel holds something else than was asked, or nothing."""
    from cgmgr.driver import Request
    from cgmgr.resources.words import resources_of

    with group.machine() as machine:
        found: set[str] = set()
        for word, text in asked.items():
            said: dict[str, Any] = {word: text}
            request = Request(group=group.name, resources=resources_of(**said))
            try:
                plan = group.driver.update(request, group.driver.observe(request))
                if any(any(step.drift(machine)) for step in plan.steps):
                    found.add(word)
            except CgmgrError:  # it could not be set now, so it is not held
                found.add(word)
    return found


def value_of(word: str, held: Resources, asked: Resources) -> Any:
    """What is held of a word: a number, a list, a table by name; None where nothing is."""
    from cgmgr.resources.words import KEYED, SINGLE

    if word == "cpus":
        return _cpus(held)
    if word == "cpu_shares":
        return held.cpu.shares or held.cpu.weight
    if word in SINGLE:
        section, field, _ = SINGLE[word]
        return getattr(getattr(held, section) if section else held, field)
    if word not in KEYED:
        return None
    names = [_name(entry) for entry in _entries(asked, word)]
    there = {_name(entry): entry for entry in _entries(held, word)}
    values = {name: _value(word, there.get(name)) for name in (names or there)}
    return {name: value for name, value in values.items() if value is not None} or None


def _cpus(held: Resources) -> Any:
    quota, period = held.cpu.quota_us, held.cpu.period_us
    return quota / period if isinstance(quota, int) and period else quota


def _entries(resources: Resources, word: str) -> tuple[Record, ...]:
    from cgmgr.resources.words import KEYED, PLACES

    kind, fields, _ = KEYED[word]
    section, field = PLACES[kind]
    entries: tuple[Record, ...] = getattr(
        getattr(resources, section) if section else resources, field
    )
    return tuple(e for e in entries if any(getattr(e, name) is not None for name in fields))


def _name(entry: Record) -> str:
    from cgmgr.resources.model import KEYS

    return str(getattr(entry, KEYS[type(entry)]))


def _value(word: str, entry: Record | None) -> Any:
    """The value of an entry; of several fields, a value where all are the same."""
    from cgmgr.resources.words import KEYED
    from cgmgr.units import MAX

    _, fields, _form = KEYED[word]
    if entry is None:  # the kernel shows no line for what has no limit
        return MAX if word.startswith(("io_r", "io_w")) else None
    values = {name: getattr(entry, name) for name in fields}
    first = values[fields[0]]
    if word != "rdma" and all(value == first for value in values.values()):
        return first
    return {name: value for name, value in values.items() if value is not None}


def spelled(word: str, value: Any) -> str:
    """A held value as its word would be written."""
    from cgmgr.resources.words import KEYED, SINGLE

    if word in SINGLE:
        return SINGLE[word][2].spell(value)
    if word in KEYED:
        return " ".join(f"{name}={_spelled(word, said)}" for name, said in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spelled(word: str, value: Any) -> str:
    from cgmgr.resources.words import KEYED

    form = KEYED[word][2]
    if isinstance(value, dict) and word != "rdma":
        return ",".join(f"{field}:{form.spell(said)}" for field, said in value.items())  # pyright: ignore
    return form.spell(value)
