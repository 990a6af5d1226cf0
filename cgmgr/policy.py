"""Policies: named TOML documents that inherit, and resolve to Resources plus placement.

    # /etc/cgmgr/policies/web.toml
    inherits = "base"
    description = "front ends"

    [placement]
    parent = "/cgmgr/web"
    driver = "cgroupfs"
    controllers = ["cpu", "memory"]

    [resources]
    memory = "64M"
    cpus = 0.5
    io_rbps = { "8:0" = "1M" }
    "memory.high" = "48M"

It is used as `cgmgr group create front --policy web`, which makes /cgmgr/web/front, and as

    web = Policy.load("web")
    Manager(driver=web.driver or "auto").create("front", policy=web, memory="1G")

Law: the one place that reads policy files; the folders to look in are arguments, the first that has
the name counts.  Words are `cgmgr.resources.words`'.  What a policy says lies on top of what it
inherits.  Everything wrong is a `RequestError` with the file, the key and what to write instead.
"""

from __future__ import annotations

import os

from cgmgr.errors import HostError, RequestError
from cgmgr.record import Record
from cgmgr.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from cgmgr.resources.devices import Resolve

SUFFIX: Final = ".toml"
SYSTEM: Final = "/etc/cgmgr/policies"

#: key of a document -> the types it may have, and how to say so
TOP: Final[dict[str, tuple[type, str]]] = {
    "inherits": (str, 'the name of a policy, such as "base"'),
    "description": (str, "text"),
    "placement": (dict, "a table, [placement]"),
    "resources": (dict, "a table, [resources]"),
}
PLACEMENT: Final[dict[str, tuple[type, str]]] = {
    "parent": (str, 'a path of a group, such as "/cgmgr/web"'),
    "driver": (str, 'the name of a driver, such as "systemd"'),
    "controllers": (list, 'a list of names, such as ["cpu", "memory"]'),
}


class Policy(Record):
    """A policy with everything that it inherits.

    `parent`, `driver` and `controllers` are None where no document says them: the group below which
    its groups are, how they are made, and the controllers that count for them on cgroup2 whatever
    is limited.  `files` are the documents, the one that was asked for last.
    """

    name: str
    resources: Resources = Resources()
    parent: str | None = None
    driver: str | None = None
    controllers: tuple[str, ...] | None = None
    description: str = ""
    files: tuple[str, ...] = ()

    @staticmethod
    def load(which: str) -> Policy:
        """A policy by its name, from the usual folders, or by its file, "./web.toml".

        What a file inherits is looked for beside it first.  Disks may be named by path.  Raises as
        the function `load` does.
        """
        from cgmgr.facts import device_number

        if "/" not in which and not which.endswith(SUFFIX):
            return load(which, usual_folders(), resolve=device_number)
        folder, file = os.path.split(which)
        if not file.endswith(SUFFIX) or not os.path.exists(which):
            why = "there is no such file" if file.endswith(SUFFIX) else f"it ends not in {SUFFIX}"
            raise RequestError(
                f"no policy {which!r}: {why}", operation="load policy", path=which, value=which
            )
        folders = [folder or ".", *usual_folders()]
        return load(file.removesuffix(SUFFIX), folders, resolve=device_number)

    def place(self, name: str) -> str:
        """A group's name as the policy places it: "x" is "x" below `parent`, "/x" is itself."""
        if self.parent is None or name.startswith("/"):
            return name
        return f"{self.parent.rstrip('/')}/{name}"


def usual_folders() -> list[str]:
    """Where policies are looked for: of an ordinary user the own ones first."""
    if os.geteuid() == 0:
        return [SYSTEM]
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [os.path.join(own, "cgmgr/policies"), SYSTEM]


def names(folders: Sequence[str]) -> list[str]:
    """The policies that there are, sorted."""
    found: set[str] = set()
    for folder in folders:
        try:
            found.update(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return sorted(name.removesuffix(SUFFIX) for name in found if _is_file_name(name))


def load(name: str, folders: Sequence[str], *, resolve: Resolve | None = None) -> Policy:
    """The policy of that name.  `resolve` lets disks be named by path.

    Raises `RequestError` where there is none, where it is malformed, and where it inherits from
    itself; `HostError` where a file cannot be read.
    """
    documents = _chain(name, folders)
    policy = Policy(name=name, files=tuple(file for file, _ in documents))
    for file, document in documents:
        policy = _on_top(policy, document, file, resolve)
    return policy


def _is_file_name(name: str) -> bool:
    return name.endswith(SUFFIX) and _plain(name.removesuffix(SUFFIX))


def _plain(name: str) -> bool:
    letters = name.replace("-", "").replace("_", "").replace(".", "")
    return letters.isascii() and letters.isalnum() and not name.startswith(".") and len(name) < 200


def _chain(name: str, folders: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Files and documents, the one that inherits nothing first."""
    seen: list[str] = []
    documents: list[tuple[str, dict[str, Any]]] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted in seen:
            raise _wrong(documents[-1][0], "inherits", f"a circle: {' -> '.join([*seen, wanted])}")
        file = _find(wanted, folders, documents[-1][0] if documents else None)
        document = _read(file)
        _check(document, TOP, file, "")
        seen.append(wanted)
        documents.append((file, document))
        wanted = document.get("inherits")
    return documents[::-1]


def _find(name: str, folders: Sequence[str], heir: str | None) -> str:
    """The file of a policy; `heir` is the file that inherits from it, for the complaint."""
    if not _plain(name):
        raise RequestError(
            f"invalid policy name {name!r}: letters, digits, - and _",
            operation="load policy",
            path=heir,
            value=name,
        )
    for folder in folders:
        file = os.path.join(folder, name + SUFFIX)
        if os.path.exists(file):
            return file
    import difflib

    near = difflib.get_close_matches(name, names(folders), n=1)
    whose = f"{heir}: " if heir else ""
    raise RequestError(
        f"{whose}no policy {name!r} in {', '.join(folders) or 'no folder at all'}",
        operation="load policy",
        path=heir,
        value=name,
        hint=f'inherits = "{near[0]}"' if heir and near else near[0] if near else None,
    )


def _read(file: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(file, "rb") as stream:
            return tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{file}: not TOML: {str(error).lower()}", operation="load policy", path=file
        ) from error
    except OSError as error:
        raise HostError(
            f"{file}: {(error.strerror or 'unreadable').lower()}",
            operation="load policy",
            path=file,
            errno=error.errno,
        ) from error


def _check(
    table: dict[str, Any], known: dict[str, tuple[type, str]], file: str, prefix: str
) -> None:
    """Refuse unknown keys and wrong types."""
    for key, value in table.items():
        if key not in known:
            import difflib

            near = difflib.get_close_matches(key, known, n=1)
            what = "unknown, known are " + ", ".join(known)
            raise _wrong(file, prefix + key, what, hint=near[0] if near else None)
        kind, wanted = known[key]
        if type(value) is not kind:
            raise _wrong(file, prefix + key, f"write {wanted}, not {value!r}")


def _on_top(policy: Policy, document: dict[str, Any], file: str, resolve: Resolve | None) -> Policy:
    placement: dict[str, Any] = document.get("placement", {})
    _check(placement, PLACEMENT, file, "placement.")
    changes: dict[str, Any] = dict(placement)
    if "parent" in placement:
        changes["parent"] = _parent(placement["parent"], file)
    if "controllers" in placement:
        changes["controllers"] = _controllers(placement["controllers"], file)
    if "description" in document:
        changes["description"] = document["description"]
    words: dict[str, Any] = document.get("resources", {})
    return policy.replace(**changes, resources=_resources(policy.resources, words, file, resolve))


def _parent(path: str, file: str) -> str:
    from cgmgr.kernfs import check_path

    try:
        return check_path(path)
    except RequestError as error:
        raise _wrong(file, "placement.parent", str(error), hint=error.hint) from error


def _controllers(values: list[Any], file: str) -> tuple[str, ...]:
    from cgmgr.host import KNOWN

    if not all(isinstance(value, str) and value for value in values):
        raise _wrong(file, "placement.controllers", f"write {PLACEMENT['controllers'][1]}")
    unknown = [value for value in values if value not in KNOWN]
    if unknown:
        what = f"{unknown[0]} is no controller, there are {', '.join(KNOWN)}"
        raise _wrong(file, "placement.controllers", what)
    return tuple(values)


def _resources(
    below: Resources, words: dict[str, Any], file: str, resolve: Resolve | None
) -> Resources:
    """Words on top of what is inherited; one at a time is wrong, `cpus` needs its period."""
    from cgmgr.resources.words import KEYED, resources_of

    for word, value in words.items():
        if hasattr(value, "items") and word not in KEYED and word != "unified":
            what = "takes no table; a file of cgroup2 is a key in quotes"
            raise _wrong(file, f"resources.{word}", what, hint=_in_quotes(word, value))
    try:
        return resources_of(below, resolve, **words)
    except RequestError as error:
        raise RequestError(
            f"{file}: [resources]: {error}",
            operation="load policy",
            path=file,
            value=error.value,
            hint=error.hint,
        ) from error


def _in_quotes(word: str, table: dict[str, Any]) -> str:
    """What was meant where `memory.high = 1` made a table."""
    return "\n".join(f'"{word}.{name}" = {value!r}' for name, value in table.items())


def _wrong(file: str, key: str, what: str, hint: str | None = None) -> RequestError:
    return RequestError(
        f"{file}: {key}: {what}", operation="load policy", path=file, value=key, hint=hint
    )
