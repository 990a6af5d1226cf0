"""The numbers of system calls and architectures, which libseccomp has for all of them.

Law: names to numbers; nothing else is used of the library.  It is loaded when a program has to be
made, and by whoever starts a container, never in it.

Source: seccomp_syscall_resolve_name(3), seccomp_arch_add(3), seccomp_version(3).
"""

from __future__ import annotations

import ctypes

from cgmgr.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .seccomp import Filter

LIBRARY: Final = "libseccomp.so.2"
#: the operation of an error that says that no filter can be made, or held, here
COMPILE: Final = "compile seccomp filter"
_HINT: Final = "apt-get install libseccomp2"


class _Version(ctypes.Structure):
    """struct scmp_version"""

    _fields_ = [(name, ctypes.c_uint) for name in ("major", "minor", "micro")]


#: result and arguments of what is used of the library
_SIGNATURES: Final = {
    "seccomp_version": (ctypes.POINTER(_Version),),
    "seccomp_arch_native": (ctypes.c_uint32,),
    "seccomp_arch_resolve_name": (ctypes.c_uint32, ctypes.c_char_p),
    "seccomp_syscall_resolve_name_arch": (ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p),
    "seccomp_syscall_resolve_num_arch": (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int),
}
_UNKNOWN: Final = -1
#: more than any architecture has that has socketcall(2)
_NUMBERS: Final = 600


class Library:
    """libseccomp.  Raises `HostError` where it is not there."""

    def __init__(self, name: str = LIBRARY) -> None:
        try:
            self._calls: Any = ctypes.CDLL(name)
        except OSError as error:
            raise HostError(
                f"{name} is not there, and a seccomp filter cannot be made without it",
                operation=COMPILE,
                path=name,
                hint=_HINT,
            ) from error
        for call, (result, *arguments) in _SIGNATURES.items():
            function = getattr(self._calls, call)
            function.restype, function.argtypes = result, arguments
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        self._names: dict[int, dict[str, int]] = {}

    @property
    def version(self) -> str:
        found = self._calls.seccomp_version().contents
        return f"{found.major}.{found.minor}.{found.micro}"

    def number(self, architecture: int, name: str) -> int:
        """A call's number; negative where it has none there."""
        number = int(self._calls.seccomp_syscall_resolve_name_arch(architecture, name.encode()))
        if number >= _UNKNOWN:
            return number
        # where there is socketcall(2), bind(2) is a part of it for the library, and a call, too
        if architecture not in self._names:
            self._names[architecture] = self._by_number(architecture)
        return self._names[architecture].get(name, _UNKNOWN)

    def _by_number(self, architecture: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for number in range(_NUMBERS):
            text = self._calls.seccomp_syscall_resolve_num_arch(architecture, number)
            if text:
                found[ctypes.string_at(text).decode()] = number
                self._free(text)
        return found

    def architectures(self, asked: Filter) -> list[int]:
        """The library's tokens of the machine's own architecture and, after it, of those that are
        asked for: AUDIT_ARCH_*, but for x32.

        Raises `HostError` for one that this library does not know.
        """
        found = [int(self._calls.seccomp_arch_native())]
        for name in asked.architectures:
            token = int(self._calls.seccomp_arch_resolve_name(name.encode()))
            if token == 0:
                raise HostError(
                    f"libseccomp {self.version} does not know the architecture {name}",
                    operation=COMPILE,
                    value=name,
                    hint=_HINT,
                )
            if token not in found:
                found.append(token)
        return found
