# SPDX-License-Identifier: Apache-2.0
"""Plugin files, and what decides how calls run here."""

from __future__ import annotations

import os
from typing import Any

from . import _attn


def load_plugins(path: str | os.PathLike[str]) -> list[str]:
    """Loads a plugin file, or every one of a directory; the names of the types that it added.

    Raises:
        InvalidArgument: the reason why a file is refused. Files before it stay loaded.
    """
    before = set(_attn.types())
    place = os.fspath(path)
    files = [place]
    if os.path.isdir(place):
        files = sorted(
            os.path.join(place, name)
            for name in os.listdir(place)
            if name.endswith(".so") and not name.startswith(".")
        )
    for file in files:
        _attn.load_plugin(file)
    return [name for name in _attn.types() if name not in before]


def rescan_plugins() -> list[str]:
    """Looks for plugins again, also while other threads call layers; the names of the types that are new.

    A file that was replaced serves the layers that are made from now on; those that exist keep the old code. A file that
    is refused changes nothing: ``attn.doctor()`` says why.
    """
    from .layers import types

    before = set(_attn.types())
    _attn.rescan_plugins()
    types.forget_replaced()
    return [name for name in _attn.types() if name not in before]


class Doctor(dict[str, Any]):
    """Facts by name; printed, they read as text."""

    def __str__(self) -> str:
        plugins = self["plugins"]
        lines = [
            f"attn {self['version']} ({self['commit']})",
            f"cpu      {self['cpu']}",
            f"level    {self['level']} of {', '.join(self['levels'])}",
            f"threads  {self['threads']}",
            f"helper   {plugins['probe_program'] or 'not found: unknown plugins are refused'}",
            f"plugins are looked for in {self['plugin_path']}",
        ]
        for directory in plugins["directories"]:
            lines.append(f"  {directory['path']} ({directory['source']}): {directory['state']}")
        for variable in self["environment"]:
            lines.append(f"{variable['name']}={variable['value']}: {variable['effect']}")
        for lock in plugins["locks"]:
            state = f"lets nothing in: {lock['problem']}" if lock["problem"] else ""
            lines.append(f"lock     {lock['path']} {state}".rstrip())
        loaded = [f for f in plugins["files"] if f["state"] == "loaded"]
        lines.append(f"loaded   {len(loaded)} files, {sum(len(f['types']) for f in loaded)} types")
        for file in plugins["files"]:
            if file["state"] == "refused":
                expected = f"expected {file['expected']}" if file["expected"] else ""
                why = "; ".join(w for w in (file["problem"], expected, file["hint"]) if w)
                lines.append(f"refused  {file['path']}: {why}")
        return "\n".join(lines)


def doctor() -> Doctor:
    """Version, instruction set, threads, variables that are set, and every plugin file with what became of it."""
    return Doctor(_attn.doctor())
