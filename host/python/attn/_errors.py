# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the package. Their text is complete; their attributes are its parts, "" where there is none."""

from __future__ import annotations


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

    def __reduce__(self) -> tuple[object, ...]:
        parts = (self.where, self.type, self.parameter, self.value, self.expected, self.hint)
        return (self.__class__, (str(self), *parts))


class InvalidArgument(_Parts, ValueError):
    """What the caller gave is wrong: a configuration, a shape, a file, the order of calls."""


class Failure(_Parts, RuntimeError):
    """The library, a plugin or the system did not do what it should."""
