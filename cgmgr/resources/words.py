"""The friendly vocabulary: words for Python, TOML and `cgmgr group set`.

    resources_of(memory="64M", cpus=0.5, io_rbps={"8:0": "1M"}, **{"memory.high": "48M"})

Law: two tables say which word is which setting and in what form; nothing else here knows a setting,
but for the words that set two at once (`cpus`, `cpu_shares`).  What is said is what is meant:
no default is added, "max" lifts a limit, 0 and empty are refused where they would limit to nothing,
and None is a word not said.  A word with a dot is a file of the v2 hierarchy, written as it stands.

docker's flags are words too, where they mean the same (`aliases`), and so are systemd's properties
(`MemoryMax="1G"`, `systemd_text`).  Every complaint is about the word that was said.

`words_of` is the lossless inverse, text for every word: it is also how requests are stored.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX, Max, parse_cpus_usec, parse_int, refuse

from . import forms
from .aliases import FLAGS, TOGETHER, unknown
from .devices import block_number
from .formulas import DEFAULT_PERIOD_US, SHARES_LEAST, SHARES_MOST, shares_to_weight
from .merge import settings
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
REPEATABLE: Final = (
    *(*KEYED, "unified", "devices"),
    *(flag for flag, (word, _) in FLAGS.items() if word in KEYED or word == "unified"),
)

#: a setting as the model names it -> its word
WORDS: Final = {
    f"{section}.{field}" if section else field: word for word, (section, field, _) in SINGLE.items()
}


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
    below = base or Resources()
    cpus, together = words.pop("cpus", None), words.pop(TOGETHER, None)
    for word, value in words.items():
        if value is not None:
            draft.say(word, value)
    if cpus is not None:
        draft.say_cpus(cpus, below.cpu.period_us)
    if together is not None:
        draft.say_together(together, below.memory.max_bytes)
    try:
        return below.merge(draft.resources(below.cpu.period_us))
    except RequestError as error:
        raise in_words(error) from None


def in_words(error: RequestError) -> RequestError:
    """The model's complaint, with each setting named by its word.  Changes the error."""
    import re

    names = "|".join(re.escape(name) for name in sorted(WORDS, key=len, reverse=True))
    named = re.compile(rf"(?<![\w.])(?:{names})(?![\w.])")
    error.message = named.sub(lambda found: WORDS[found[0]], error.message)
    error.operation = named.sub(lambda found: WORDS[found[0]], error.operation or "")
    return error


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
        elif name in REPEATABLE or _is_property(name):
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
        self.properties: list[str] = []

    def say(self, word: str, value: Any, named: str = "") -> None:
        """One word; `named` is how it was said, where that is an alias."""
        named = named or word
        if word in SINGLE:
            section, field, form = SINGLE[word]
            read = forms.read(SECTIONS.get(section), field, form, value, named)
            self._set(section, field, read, named)
        elif word in KEYED:
            self._say_keyed(word, value, named)
        elif word in FLAGS:
            word, convert = FLAGS[word]
            self.say(word, convert(value, named), named)
        elif word == "cpu_shares":
            shares = _whole(value, word, SHARES_LEAST, SHARES_MOST)
            self._set("cpu", "shares", shares, word)
            self._set("cpu", "weight", shares_to_weight(shares), word)
        elif word == "unified":
            for file, text in _pairs(value, named, key_first=True):
                _put(self.raw, file, str(text), named)
        elif "." in word:
            _put(self.raw, word, str(value), word)
        elif _is_property(word):
            texts = value if type(value) in (list, tuple) else [value]
            self.properties += [f"{word}={text}" for text in texts]
        else:
            raise unknown(word, value, NAMES)

    def _set(self, section: str, field: str, value: Any, word: str) -> None:
        _put(self.sections.setdefault(section, {}), field, value, word)

    def _say_keyed(self, word: str, value: Any, named: str) -> None:
        kind, fields, form = KEYED[word]
        entries = self.entries.setdefault(kind, {})
        for name, said in _pairs(value, named):
            key, what = self._key(kind, name, named), f"{named} of {name}"
            read = forms.read(kind, fields[0], form, said, what)
            values: dict[str, Any] = read if kind is RdmaLimit else dict.fromkeys(fields, read)
            for field, limit in values.items():
                if not forms.within(kind, field, limit):
                    raise refuse(what, said, forms.range_of(kind, field, form))
                _put(entries.setdefault(key, {}), field, limit, what)

    def _key(self, kind: type[Record], name: str, word: str) -> str:
        if kind is IoDevice:
            return block_number(name, word, self.resolve)
        return forms.hugepage_size(name, word) if kind is HugetlbLimit else name

    def say_cpus(self, value: Any, before: int | None) -> None:
        """A number of CPUs is a quota for the period that is said, was said before, or is usual."""
        said: int | None = self.sections.get("cpu", {}).get("period_us")
        period = said or before or DEFAULT_PERIOD_US
        if value in (MAX, "max"):
            self._set("cpu", "quota_us", MAX, "cpus")
            return
        quota = parse_cpus_usec(_cpus_text(value), period)
        if quota < 1_000:
            raise refuse("cpus", value, f"the least is {1_000 / period:g}, 1 ms in a period")
        self._set("cpu", "quota_us", quota, "cpus")
        self._set("cpu", "period_us", period, "cpus")

    def say_together(self, value: Any, before: int | Max | None) -> None:
        """docker's memory and swap together, -1 for no limit on swap, as swap alone."""
        said: int | Max | None = self.sections.get("memory", {}).get("max_bytes")
        memory = said if said is not None else before
        if str(value) in ("-1", "max"):
            self._set("memory", "swap_bytes", MAX, TOGETHER)
            return
        together = forms.BYTES_LIMIT.read(value, TOGETHER)
        if not isinstance(memory, int):
            why = "it is memory and swap together, so say memory too, or swap alone"
            raise refuse(TOGETHER, value, why)
        if together < memory:
            raise refuse(TOGETHER, value, "it is memory and swap together, and less than memory")
        self._set("memory", "swap_bytes", together - memory, TOGETHER)

    def resources(self, before: int | None = None) -> Resources:
        """What was said; `before` is the period that a share of CPU time is of, else the usual."""
        asked = self._of_words()
        if not self.properties:
            return asked
        from .systemd_text import from_assignments

        theirs = from_assignments(self.properties, self.resolve)
        if isinstance(theirs.cpu.quota_us, int) and theirs.cpu.period_us is None:
            period = f"CPUQuotaPeriodSec={asked.cpu.period_us or before or DEFAULT_PERIOD_US}us"
            theirs = from_assignments([*self.properties, period], self.resolve)
        ours = settings(asked)
        for name, value in settings(theirs).items():
            if name in ours:
                _put({name: ours[name]}, name, value, name)
        return asked.merge(theirs)

    def _of_words(self) -> Resources:
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


def _is_property(word: str) -> bool:
    """Whether it is a name of systemd's, such as MemoryMax."""
    if not word[:1].isupper():
        return False
    from .systemd_text import TEXTS

    return word in TEXTS


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
