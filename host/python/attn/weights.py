# SPDX-License-Identifier: Apache-2.0
"""The weights of a layer as a mapping of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgument, nearest

if TYPE_CHECKING:
    from .layer import Layer


class WeightInfo(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    statistic: bool  # changed by training calls without a gradient


class Weights(Mapping[str, npt.NDArray[Any]]):
    """Weights of a layer by path, as numpy arrays over the layer's own memory.

    ``layer.weights["query/kernel"][...] = a`` changes the layer; so does
    ``layer.weights["query/kernel"] = a``, which takes arrays of any package and floating dtype.
    """

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def info(self) -> list[WeightInfo]:
        """Name, shape, dtype of each weight, and whether it is trained."""
        return [WeightInfo(*row) for row in self._layer._weight_infos()]

    def __getitem__(self, path: str) -> npt.NDArray[Any]:
        return self._layer._weight(self._known(path))

    def __setitem__(self, path: str, value: Any) -> None:
        if isinstance(value, (list, tuple, float, int)):
            value = np.asarray(value, dtype=self[path].dtype)
        self._layer._set_weight(self._known(path), value)

    def update(self, values: Mapping[str, Any]) -> None:
        """Sets several weights; all names and shapes are checked before the first one changes."""
        known = {w.name: w for w in self.info()}
        for path, value in values.items():
            shape = tuple(np.shape(value)) if not hasattr(value, "shape") else tuple(value.shape)
            if shape != known[self._known(path)].shape:
                raise InvalidArgument(
                    f"{self._layer.name}: weight '{path}' has shape {known[path].shape}, got {shape}; "
                    "give an array of its shape"
                )
        for path, value in values.items():
            self[path] = value

    def __iter__(self) -> Iterator[str]:
        return iter([w.name for w in self.info()])

    def __len__(self) -> int:
        return len(self.info())

    def __repr__(self) -> str:
        rows = [f"  {w.name}: {w.dtype} {w.shape}" for w in self.info()]
        return "\n".join([f"<weights of {self._layer.name}", *rows]) + ">"

    def _known(self, path: str) -> str:
        names = [w.name for w in self.info()]
        if path not in names:
            raise KeyError(
                f"{self._layer.name} has no weight {path!r}; it has {names}{nearest(path, names)}"
            )
        return path
