# SPDX-License-Identifier: Apache-2.0
"""Which part of an attention map an index, a slice or a list of indices means."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def span(index: Any) -> tuple[int, int]:
    """(first, count) of what an index covers; (0, 0), which is all, where that needs the extent."""
    if index is None:
        return 0, 0
    if isinstance(index, slice):
        first, end = index.start or 0, index.stop
        if first < 0 or (index.step or 1) < 1:
            return 0, 0
        return first, max(1, end - first) if end is not None and end > first else 0
    places = _places(index)
    if places.size == 0 or places.min() < 0:
        return 0, 0
    return int(places.min()), int(places.max() - places.min()) + 1


def select(array: npt.NDArray[Any], axis: int, index: Any, begin: int) -> npt.NDArray[Any]:
    """What an index chooses along an axis that begins with place `begin`."""
    if index is None:
        return array
    if isinstance(index, slice):
        if begin:
            stop = index.stop
            stop = stop if stop is None or stop < 0 else max(0, stop - begin)
            index = slice(0, stop, index.step)
        places: list[Any] = [slice(None)] * array.ndim
        places[axis] = index
        chosen: npt.NDArray[Any] = array[tuple(places)]
        return chosen
    return np.take(array, _places(index) - begin, axis=axis)


def _places(index: Any) -> npt.NDArray[Any]:
    """An index, a list of them or of booleans as indices."""
    places = np.atleast_1d(np.asarray(index))
    if places.dtype.kind not in "iub" or places.ndim != 1:
        raise TypeError(f"expected an index, a slice or a list of indices, got {index!r}")
    return np.flatnonzero(places) if places.dtype.kind == "b" else places.astype(np.int64)
