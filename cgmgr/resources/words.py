"""The friendly vocabulary: words for Python, TOML and `cgmgr group set`.

    resources_of(memory="64M", cpus=0.5, io_rbps={"8:0": "1M"}, **{"memory.high": "48M"})

Law: two tables say which word is which setting and in what form; nothing else here knows a setting,
but for the two words that set two at once (`cpus`, `cpu_shares`).  What is said is what is meant:
no default is added, "max" lifts a limit, 0 and empty are refused where they would limit to nothing,
and None is a word not said.  A word with a dot is a file of the v2 hierarchy, written as it stands.

`words_of` is the lossless inverse, text for every word: it is also how requests are stored.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX, parse_cpus_usec, parse_int, refuse

from . import forms
from .devices import block_number
from .formulas import DEFAULT_PERIOD_US, SHARES_LEAST, SHARES_MOST, shares_to_weight
from .model import (
    KEYS,
    SECTIONS,
    HugetlbLimit,
    IoDevice,
    MiscLimit,
    NetPrio,
    Raw,
    RdmaLimit,
    Resources,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

    from cgmgr.record import Record

    from .devices import Resolve
    from .forms import Form

#: word -> section of `Resources` ("" is Resources itself), field, form
SINGLE: Final[dict[str, tuple[str, str, Form]]] = {
    "memory": ("memory", "max_bytes", forms.BYTES_LIMIT),
    "memory_high": ("memory", "high_bytes", forms.BYTES_LIMIT),
    "memory_low": ("memory", "low_bytes", forms.BYTES_LIMIT),
    "memory_min": ("memory", "min_bytes", forms.BYTES_LIMIT),
    "memory_soft": ("memory", "soft_limit_bytes", forms.BYTES_LIMIT),
    "swap": ("memory", "swap_bytes", forms.BYTES_LIMIT),
    "swappiness": ("memory", "swappiness", forms.NUMBER),
    "oom_group": ("memory", "oom_group", forms.FLAG),
    "oom_kill_disable": ("memory", "oom_kill_disable", forms.FLAG),
    "cpu_weight": ("cpu", "weight", forms.NUMBER),
    "cpu_quota": ("cpu", "quota_us", forms.USEC_LIMIT),
    "cpu_period": ("cpu", "period_us", forms.USEC),
    "cpu_burst": ("cpu", "burst_us", forms.USEC),
    "cpu_idle": ("cpu", "idle", forms.FLAG),
    "cpu_rt_runtime": ("cpu", "rt_runtime_us", forms.USEC_LIMIT),
    "cpu_rt_period": ("cpu", "rt_period_us", forms.USEC),
    "cpuset": ("cpuset", "cpus", forms.IDS),
    "mems": ("cpuset", "mems", forms.IDS),
    "cpuset_partition": ("cpuset", "partition", forms.TEXT),
    "pids": ("pids", "max", forms.COUNT_LIMIT),
    "io_weight": ("io", "weight", forms.NUMBER),
    "devices": ("", "devices", forms.RULES),
    "frozen": ("", "frozen", forms.FLAG),
    "net_classid": ("", "net_cls_classid", forms.CLASSID),
    "perf_event": ("", "perf_event", forms.FLAG),
}

#: word -> the entries that it is about, their fields, form; the value is "KEY=VALUE KEY=VALUE"
KEYED: Final[dict[str, tuple[type[Record], tuple[str, ...], Form]]] = {
    "io_device_weight": (IoDevice, ("weight",), forms.NUMBER),
    "io_rbps": (IoDevice, ("rbps",), forms.BYTES_LIMIT),
    "io_wbps": (IoDevice, ("wbps",), forms.BYTES_LIMIT),
    "io_riops": (IoDevice, ("riops",), forms.COUNT_LIMIT),
    "io_wiops": (IoDevice, ("wiops",), forms.COUNT_LIMIT),
    "io_latency": (IoDevice, ("latency_us",), forms.USEC),
    "hugetlb": (HugetlbLimit, ("max_bytes", "rsvd_max_bytes"), forms.BYTES_LIMIT),
    "hugetlb_max": (HugetlbLimit, ("max_bytes",), forms.BYTES_LIMIT),
    "hugetlb_rsvd": (HugetlbLimit, ("rsvd_max_bytes",), forms.BYTES_LIMIT),
    "rdma": (RdmaLimit, ("hca_handle", "hca_object"), forms.RDMA),
    "misc": (MiscLimit, ("max",), forms.COUNT_LIMIT),
    "net_prio": (NetPrio, ("priority",), forms.NUMBER),
}

#: entries -> where they are in `Resources`
PLACES: Final[dict[type[Record], tuple[str, str]]] = {
    IoDevice: ("io", "devices"),
    HugetlbLimit: ("", "hugetlb"),
    RdmaLimit: ("", "rdma"),
    MiscLimit: ("", "misc"),
    NetPrio: ("", "net_prio"),
}

NAMES: Final = (*SINGLE, *KEYED, "cpus", "cpu_shares", "unified")
#: words that may be said several times on a command line
REPEATABLE: Final = (*KEYED, "unified", "devices")


def resources_of(
    base: Resources | None = None, resolve: Resolve | None = None, /, **words: Any
) -> Resources:
    """Resources from words, on top of `base`.

    Plain numbers are bytes for sizes and microseconds for times; text may have a unit ("64M",
    "250ms").  Keyed words take a mapping, text "8:0=1M 8:16=2M", or a list of such texts.
    `resolve` lets disks be named by path.  Raises `RequestError` that names the word, with the
    nearest known word where it is unknown.
    """
    draft = _Draft(resolve)
    cpus = words.pop("cpus", None)
    for word, value in words.items():
        if value is not None:
            draft.say(word, value)
    if cpus is not None:
        draft.say_cpus(cpus, (base or Resources()).cpu.period_us)
    asked = draft.resources()
    return asked if base is None else base.merge(asked)


def split_words(assignments: Iterable[str]) -> dict[str, Any]:
    """Words from "memory=64M" texts, such as a command line's, for `resources_of`.

    Keyed words may come several times, others not; "-" and "_" are the same in a word.
    """
    words: dict[str, Any] = {}
    for text in assignments:
        word, equals, value = text.partition("=")
        if not equals:
            raise refuse("setting", text, "write WORD=VALUE, such as memory=64M")
        name = word if "." in word else word.replace("-", "_")
        if name not in words:
            words[name] = value
        elif name in REPEATABLE:
            old = words[name]
            words[name] = [*(old if isinstance(old, list) else [old]), value]
        else:
            raise RequestError(f"{word} is said twice", operation="read settings", value=text)
    return words


class _Draft:
    """Resources under construction: fields by section, entries by kind and key."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve
        self.sections: dict[str, dict[str, Any]] = {}
        self.entries: dict[type[Record], dict[str, dict[str, Any]]] = {}
        self.raw: dict[str, str] = {}

    def say(self, word: str, value: Any) -> None:
        if word in SINGLE:
            section, field, form = SINGLE[word]
            self._set(section, {field: form.read(value, word)}, word)
        elif word in KEYED:
            self._say_keyed(word, value)
        elif word == "cpu_shares":
            shares = _whole(value, word, SHARES_LEAST, SHARES_MOST)
            self._set("cpu", {"shares": shares, "weight": shares_to_weight(shares)}, word)
        elif word == "unified":
            for file, text in _pairs(value, word, key_first=True):
                _put(self.raw, file, str(text), word)
        elif "." in word:
            _put(self.raw, word, str(value), word)
        else:
            raise _unknown(word)

    def _set(self, section: str, fields: dict[str, Any], word: str) -> None:
        target = self.sections.setdefault(section, {})
        for field, value in fields.items():
            _refuse_zero(SECTIONS.get(section), field, value, word)
            _put(target, field, value, word)

    def _say_keyed(self, word: str, value: Any) -> None:
        kind, fields, form = KEYED[word]
        entries = self.entries.setdefault(kind, {})
        for name, said in _pairs(value, word):
            key = self._key(kind, name, word)
            read = form.read(said, f"{word} of {name}")
            values: dict[str, Any] = read if kind is RdmaLimit else dict.fromkeys(fields, read)
            for field, limit in values.items():
                _refuse_zero(kind, field, limit, f"{word} of {name}")
                _put(entries.setdefault(key, {}), field, limit, f"{word} of {name}")

    def _key(self, kind: type[Record], name: str, word: str) -> str:
        if kind is IoDevice:
            return block_number(name, word, self.resolve)
        return forms.hugepage_size(name, word) if kind is HugetlbLimit else name

    def say_cpus(self, value: Any, before: int | None) -> None:
        """A number of CPUs is a quota for the period that is said, was said before, or is usual."""
        said: int | None = self.sections.get("cpu", {}).get("period_us")
        period = said or before or DEFAULT_PERIOD_US
        if value in (MAX, "max"):
            self._set("cpu", {"quota_us": MAX}, "cpus")
            return
        quota = parse_cpus_usec(_cpus_text(value), period)
        if quota < 1_000:
            raise refuse("cpus", value, f"the least is {1_000 / period:g}, 1 ms in a period")
        self._set("cpu", {"quota_us": quota, "period_us": period}, "cpus")

    def resources(self) -> Resources:
        fields: dict[str, Any] = dict(self.sections.get("", {}))
        for section, kind in SECTIONS.items():
            values = self.sections.get(section, {})
            if section == "io" and IoDevice in self.entries:
                values["devices"] = self._entries(IoDevice)
            fields[section] = kind(**values)
        for kind, (section, field) in PLACES.items():
            if not section:
                fields[field] = self._entries(kind)
        raw = tuple(Raw(file=file, value=value) for file, value in self.raw.items())
        return Resources(**fields, unified=raw)

    def _entries(self, kind: type[Record]) -> tuple[Record, ...]:
        entries = self.entries.get(kind, {})
        return tuple(kind(**{KEYS[kind]: key}, **fields) for key, fields in entries.items())


def _put(target: dict[str, Any], field: str, value: Any, word: str) -> None:
    if target.setdefault(field, value) != value:
        raise RequestError(
            f"{word} contradicts another word: {value} against {target[field]}",
            operation="read settings",
            value=str(value),
        )


def _refuse_zero(kind: type[Any] | None, field: str, value: Any, word: str) -> None:
    """A better word than the model's for the zero that means "no limit" elsewhere."""
    least, _, takes_max = kind.RANGES.get(field, (0, 0, False)) if kind else (0, 0, False)
    if value == 0 and least > 0:
        raise refuse(word, value, f"the least is {least}" + ("; max lifts it" * takes_max))


def _pairs(value: Any, word: str, key_first: bool = False) -> Iterator[tuple[str, Any]]:
    """KEY=VALUE pairs from a mapping, text or a list of texts.

    A name of an interface may hold "=", a number does not: the last one counts.  With `key_first`
    the first counts, and a text is one pair, spaces and all.
    """
    if hasattr(value, "items"):
        yield from ((str(key), said) for key, said in value.items())
        return
    texts: list[Any] = value if type(value) in (list, tuple) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise refuse(word, value, "write KEY=VALUE, or give a mapping")
    for text in texts:
        for pair in [text] if key_first else text.split() or [""]:
            key, equals, said = pair.partition("=") if key_first else pair.rpartition("=")
            if not (key and equals and said):
                raise refuse(word, pair, "write KEY=VALUE")
            yield key, said


def _cpus_text(value: Any) -> str:
    """A number of CPUs as text; a float to the nanocpu, which is what docker counts."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refuse("cpus", value, "give a number of CPUs such as 0.5 or 2")
    return f"{value:.9f}" if isinstance(value, float) else str(value)


def _whole(value: Any, word: str, least: int, most: int) -> int:
    return parse_int(str(forms.NUMBER.read(value, word)), word, least, most)


def _unknown(word: str) -> RequestError:
    import difflib

    near = difflib.get_close_matches(word, NAMES, n=1)
    known = ", ".join(sorted(NAMES))
    return RequestError(
        f"unknown setting {word!r}, "
        + (f"did you mean {near[0]!r}?" if near else f"these are known: {known}"),
        operation="read settings",
        value=word,
        hint=near[0] if near else None,
    )


def words_of(resources: Resources) -> dict[str, str]:
    """The words that say exactly this request: `resources_of(**words_of(r)) == r`."""
    words: dict[str, str] = {}
    for word, (section, field, form) in SINGLE.items():
        value = getattr(getattr(resources, section) if section else resources, field)
        if value is not None:
            words[word] = form.spell(value)
    if resources.cpu.shares is not None:
        words["cpu_shares"] = str(resources.cpu.shares)
        del words["cpu_weight"]
    for word, (kind, fields, form) in KEYED.items():
        pairs = [
            f"{getattr(entry, KEYS[kind])}={form.spell(value)}"
            for entry in _entries_of(resources, kind)
            if (value := _said_by(entry, fields, word)) is not None
        ]
        if pairs:
            words[word] = " ".join(pairs)
    return words | {raw.file: raw.value for raw in resources.unified}


def _entries_of(resources: Resources, kind: type[Record]) -> tuple[Record, ...]:
    section, field = PLACES[kind]
    entries: tuple[Record, ...] = getattr(
        getattr(resources, section) if section else resources, field
    )
    return entries


def _said_by(entry: Record, fields: tuple[str, ...], word: str) -> Any:
    """What a keyed word says of an entry, or None where it says nothing, or not all."""
    values = {field: getattr(entry, field) for field in fields}
    if word == "rdma":
        return {field: value for field, value in values.items() if value is not None}
    if word in ("hugetlb_max", "hugetlb_rsvd") and entry.max_bytes == entry.rsvd_max_bytes:  # type: ignore[attr-defined]
        return None  # "hugetlb" says both
    first = values[fields[0]]
    return first if all(value == first for value in values.values()) else None
