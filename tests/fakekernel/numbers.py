"""Numbers as the kernel reads them.

Law: text in, number out; what cannot be read is `OSError` with the kernel's errno.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NoReturn

PAGE = 4096
COUNTER_MAX = (2**63 - 1) // PAGE


def fail(number: int) -> NoReturn:
    """Refuse as the kernel does."""
    raise OSError(number, os.strerror(number))


def _number(text: str, pattern: str) -> int:
    match = re.fullmatch(pattern + r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", text)
    if match is None:
        fail(errno.EINVAL)
    digits = match[1]
    octal = re.fullmatch(r"0[0-7]+", digits)
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if text.startswith("-") else value


def signed(text: str) -> int:
    """kstrtoll: EINVAL for anything else, ERANGE beyond 64 bits."""
    value = _number(text, "[+-]?")
    if not -(2**63) <= value < 2**63:
        fail(errno.ERANGE)
    return value


def unsigned(text: str) -> int:
    """kstrtoull: EINVAL for anything else, minus signs included."""
    value = _number(text, r"\+?")
    if value >= 2**64:
        fail(errno.ERANGE)
    return value


def memparse(text: str) -> int:
    """memparse: digits with one of KMGTPE behind; nothing at all is 0 (lib/cmdline.c)."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*|)([kKmMgGtTpPeE]?)", text)
    if match is None:
        fail(errno.EINVAL)
    digits = match[1] or "0"
    value = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
    return (value << 10 * " KMGTPE".index(match[2].upper() or " ")) % 2**64


def pages(text: str, word: str) -> int:
    """page_counter_memparse: whole pages, COUNTER_MAX for `word` and for what is more."""
    return COUNTER_MAX if text == word else min(memparse(text) // PAGE, COUNTER_MAX)
