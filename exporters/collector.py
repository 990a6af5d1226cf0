"""A collector for prometheus_client: the groups' statistics, read when somebody asks.

Law: every scrape builds fresh families from the table in `metrics`, and no sample ever has a
timestamp: with one, Prometheus would go on showing a removed group for five minutes.  What could
not be read is missing, and counted; it is never zero, and never the end of the rest.

The application makes a `CollectorRegistry` of its own and registers a `Collector` there:

    registry = CollectorRegistry()
    registry.register(Collector(manager))
"""

from __future__ import annotations

import threading
import time

import cgmgr
from cgmgr.errors import CgmgrError, GroupGone, NoSuchGroup
from cgmgr.stats import Stats, StatsError

from .metrics import COUNTER, GAUGE, LAST_SEEN, TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Final, Protocol

    from prometheus_client import Metric as Family

    from cgmgr.host import Host
    from cgmgr.kept import Budget, KeptFiles

    class Group(Protocol):
        """What `cgmgr.Group` is, as far as it counts here."""

        @property
        def name(self) -> str: ...
        @property
        def paths(self) -> Mapping[str, str]: ...
        def stats(self, files: KeptFiles | None = None, /) -> Stats: ...
        def close(self) -> None: ...

    class Groups(Protocol):
        """What `cgmgr.Manager` is, as far as it counts here."""

        @property
        def host(self) -> Host: ...
        def list(self) -> list[str]: ...
        def recorded(self) -> Sequence[str]: ...
        def open(self, name: str) -> Group: ...

    #: labels and statistics of everything that is to be shown
    Source = Callable[[], Iterable[tuple[Mapping[str, str], Stats]]]


class Collector:
    """What prometheus_client calls a custom collector.

    `source` is a `Manager`, whose groups are then shown with the labels `id`, `name` and `image`,
    or a function that gives pairs of labels and `Stats` anew at each call.  A manager's groups are
    those directly below its driver's parent (/cgmgr), whoever made them, and all that are recorded
    in its run directory, also below another group, or named by a path elsewhere; a group that only
    had to be there for one below it is not shown elsewhere.  `id` tells two of one `name` apart.

    All series get the same label names; one that a pair lacks is empty, which Prometheus takes for
    absent.  A pair without labels has nothing to show but its errors.  `devices` gives disks
    another name than MAJOR:MINOR in the label `device`; for a manager it is `/dev/NAME`.

    The files of a manager's groups stay open from one scrape to the next, which halves its cost, as
    long as there is room in `budget`: by default half of what the process may have open.  Some 40
    descriptors a group are wanted, so with hundreds of groups raise its limit (LimitNOFILE=) first;
    what finds no room is opened for each scrape.

    Scrapes that come while one is under way get its result.
    """

    def __init__(
        self,
        source: Source | Groups,
        *,
        devices: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        budget: Budget | None = None,
    ) -> None:
        if callable(source):
            self._source: Source = source
            self._devices = devices or {}
        else:
            self._source = _Opened(source, budget)
            self._devices = devices if devices is not None else device_names(source.host)
        self._clock = clock
        self._lock = threading.Lock()
        self._finished = 0.0
        self._families: list[Family] = []
        self._errors = 0

    def describe(self) -> Iterator[Family]:
        """The families without samples: a registry asks for them instead of scraping, to see
        whether another collector has one of that name."""
        yield from _families().values()
        yield from _families_of_its_own().values()

    def collect(self) -> list[Family]:
        """All families that have a sample, and the collector's own."""
        asked = time.monotonic()
        with self._lock:
            if not self._families or self._finished < asked:
                self._families = self._scrape()
                self._finished = time.monotonic()
            return self._families

    def _scrape(self) -> list[Family]:
        begun = time.perf_counter()
        seen, errors = self._look()
        families = _families()
        names = tuple(dict.fromkeys(name for labels, _ in seen for name in labels))
        for labels, stats in seen:
            base = {name: labels.get(name, "") for name in names}
            self._add(families, base, stats)
        self._errors += errors
        own = _families_of_its_own()
        for name, value in (
            ("cgmgr_scrape_duration_seconds", time.perf_counter() - begun),
            ("cgmgr_scrape_errors_total", self._errors),
            ("container_scrape_error", int(errors > 0)),
        ):
            own[name].add_sample(name, {}, value)
        own["cgmgr_build_info"].add_sample("cgmgr_build_info", {"version": cgmgr.__version__}, 1)
        return [family for family in (*families.values(), *own.values()) if family.samples]

    def _look(self) -> tuple[list[tuple[Mapping[str, str], Stats]], int]:
        """Everything there is, and how much of it could not be read.

        Labels that come twice would make Prometheus refuse the whole scrape: the first counts.
        """
        seen: dict[frozenset[tuple[str, str]], tuple[Mapping[str, str], Stats]] = {}
        errors = 0
        try:
            for labels, stats in self._source():
                errors += len(stats.errors)
                key = frozenset(item for item in labels.items() if item[1])
                errors += key in seen
                if key:
                    seen.setdefault(key, (labels, stats))
        except CgmgrError:
            errors += 1
        return list(seen.values()), errors

    def _add(self, families: dict[str, Family], base: dict[str, str], stats: Stats) -> None:
        for metric in TABLE:
            for values, number in metric.get(stats):
                own = dict(zip(metric.labels, values, strict=True))
                if "device" in own:
                    own["device"] = self._devices.get(own["device"], own["device"])
                families[metric.name].add_sample(metric.name, base | own, number)
        families[LAST_SEEN].add_sample(LAST_SEEN, base, int(self._clock()))


class _Opened:
    """The groups of a manager, kept open from one scrape to the next, and their files."""

    def __init__(self, manager: Groups, budget: Budget | None) -> None:
        from cgmgr.kept import Budget

        self._manager = manager
        self._budget = budget if budget is not None else Budget.of_this_process()
        self._groups: dict[str, tuple[Group, KeptFiles]] = {}

    def __call__(self) -> Iterator[tuple[Mapping[str, str], Stats]]:
        names = sorted({*self._manager.list(), *self._manager.recorded()})
        for name in self._groups.keys() - set(names):
            self._forget(name)
        for name in names:
            # a group may be removed, and another of its name made, at any moment
            for _ in range(2):
                try:
                    group, files = self._open(name)
                    yield _labels(group), group.stats(files)
                    break
                except (GroupGone, NoSuchGroup):
                    self._forget(name)
                except CgmgrError as error:
                    failed = StatsError(file=name, message=str(error))
                    yield {}, Stats(errors=(failed,))
                    break

    def _open(self, name: str) -> tuple[Group, KeptFiles]:
        from cgmgr.kept import KeptFiles

        opened = self._groups.get(name)
        if opened is None:
            opened = self._manager.open(name), KeptFiles(self._budget)
            self._groups[name] = opened
        return opened

    def _forget(self, name: str) -> None:
        opened = self._groups.pop(name, None)
        if opened is not None:
            group, files = opened
            files.close()
            group.close()


def _labels(group: Group) -> dict[str, str]:
    """cAdvisor's: `id` is the path of the cgroup.  A group that is no container has no image."""
    path = group.paths[min(group.paths)]
    return {"id": path, "name": group.name.rpartition("/")[2], "image": ""}


def device_names(host: Host) -> dict[str, str]:
    """ "8:0" to "/dev/sda", for every disk of the host."""
    return {device.number: f"/dev/{device.name}" for device in host.facts.block_devices}


def _families() -> dict[str, Family]:
    families = {metric.name: _family(metric.name, metric.kind, metric.help) for metric in TABLE}
    families[LAST_SEEN] = _family(LAST_SEEN, GAUGE, "When the group was seen, seconds since 1970.")
    return families


#: what the collector says of itself: kind, help
_OWN: Final = {
    "container_scrape_error": (GAUGE, "1 if something could not be read, 0 otherwise."),
    "cgmgr_scrape_errors_total": (COUNTER, "Files and groups that could not be read, so far."),
    "cgmgr_scrape_duration_seconds": (GAUGE, "How long reading took, this time."),
    "cgmgr_build_info": (GAUGE, "1, with the version as label."),
}


def _families_of_its_own() -> dict[str, Family]:
    return {name: _family(name, kind, words) for name, (kind, words) in _OWN.items()}


def _family(name: str, kind: str, words: str) -> Family:
    """prometheus_client puts a counter's `_total` back itself."""
    from prometheus_client import Metric

    return Metric(name.removesuffix("_total") if kind == COUNTER else name, words, kind)
