# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the package. Their attributes are the parts of the message, "" where there is none; what its text
leaves out, Python shows below it as a note."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean 'num_heads'?", or "" when none is near."""
    found = difflib.get_close_matches(str(name), list(names), 1)
    return f"; did you mean {found[0]!r}?" if found else ""


class _Parts(Exception):
    """where: file, layer or tensor; type: attention type; parameter; value: what was given;
    expected: what would have been right; hint: what to do."""

    def __init__(
        self,
        message: str,
        where: str = "",
        type: str = "",
        parameter: str = "",
        value: str = "",
        expected: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.where = where
        self.type = type
        self.parameter = parameter
        self.value = value
        self.expected = expected
        self.hint = hint
        for note in (f"expected {expected}" if expected else "", hint):
            said = note.removeprefix("expected ").removeprefix("one of ")
            if note and said.lower() not in message.lower():
                self.add_note(note)

    def __reduce__(self) -> tuple[object, ...]:
        parts = (self.where, self.type, self.parameter, self.value, self.expected, self.hint)
        return (self.__class__, (str(self), *parts))


class InvalidArgument(_Parts, ValueError):
    """What the caller gave is wrong: a configuration, a shape, a file, the order of calls."""


class Failure(_Parts, RuntimeError):
    """The library, a plugin or the system did not do what it should."""
