# SPDX-License-Identifier: Apache-2.0
"""Pictures of what calls attend to: ``attn.plot``. The renderer is that of ``attn map``."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from . import _attn
from ._maps import span
from .layer import Layer


class Picture:
    """A picture, which notebooks show. ``save`` writes it as PNG, SVG or HTML with values on hover."""

    def __init__(self, scene: _attn.Scene) -> None:
        self._scene = scene

    @property
    def svg(self) -> str:
        return self._scene.svg()

    @property
    def html(self) -> str:
        """One page without anything from elsewhere; the value of the cell under the mouse is shown."""
        return self._scene.html()

    @property
    def png(self) -> bytes:
        return self._scene.png()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the format that the path's ending names."""
        target = pathlib.Path(path)
        if target.suffix == ".png":
            target.write_bytes(self.png)
        elif target.suffix in (".svg", ".html"):
            target.write_text(self.svg if target.suffix == ".svg" else self.html, encoding="utf-8")
        else:
            raise ValueError(
                f"save: expected a path that ends in .png, .svg or .html, got {str(path)!r}"
            )

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        width, height = self._scene.size
        return f"<attn.Picture {width:.0f} x {height:.0f}>"


def plot(
    layer: Layer,
    *inputs: Any,
    compare: Layer | None = None,
    show: str | Sequence[str] = (),
    labels: Sequence[str] = (),
    key_labels: Sequence[str] = (),
    heads: int | slice | None = None,
    queries: int | slice | None = None,
    keys: int | slice | None = None,
    query: int | None = None,
    grid: tuple[int, int] | None = None,
    row: int = 0,
    **options: Any,
) -> Picture:
    """What a call tells of itself as a picture: its maps, and what its type has of its own.

    compare: a second layer, called with the same inputs and shown beside the first with the same colours.
    show: names of observables instead, as ``Layer.observe`` takes them.
    labels, key_labels: a text for each position; keys have those of the queries where they are as many.
    heads, queries, keys: an index or a slice, the part of the maps that is computed and drawn.
    query: whose weights are shown over the grid that keys are in; grid: its rows and columns, for a
    sequence of patches. row: of the batch. options: of the call.
    """
    part: list[int] = []
    for name, index in (("heads", heads), ("queries", queries), ("keys", keys)):
        if isinstance(index, slice):
            fits = index.step in (None, 1) and all(
                n is None or n >= 0 for n in (index.start, index.stop)
            )
            fits = fits and (index.stop is None or index.stop > (index.start or 0))
        else:
            fits = index is None or (isinstance(index, int) and index >= 0)
        if not fits:
            raise ValueError(
                f"plot: {name} must be an index or a slice of what follows each other, got {index!r}"
            )
        part += span(index)
    layers = [layer] if compare is None else [layer, compare]
    names = [show] if isinstance(show, str) else list(show)
    calls = [
        (each, inputs, options, "" if each.name == each.type else each.name) for each in layers
    ]
    return Picture(
        _attn.drawn(calls, names, part, list(labels), list(key_labels), query, grid, row)
    )
