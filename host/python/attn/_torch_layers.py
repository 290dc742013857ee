# SPDX-License-Identifier: Apache-2.0
"""Layers in which calls of torch modules run.

A layer owns the tensors over its memory, and calls with those run in it without a copy. For other weights (moved by
``p.data = ...``, of exported programs, in half precision) there are spare layers, into which they are copied.
Threads: any number at once; a spare layer serves one call at a time.
"""

from __future__ import annotations

import collections
import json
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .layer import Layer
from .layers import types

Tensors = Sequence[Tensor]

_owners: weakref.WeakValueDictionary[Any, Layer] = weakref.WeakValueDictionary()
_spare: collections.deque[tuple[Any, Layer]] = collections.deque(maxlen=16)
_lock = threading.Lock()


def make(spec: str, dtype: str, seed: int = 0) -> Layer:
    """A built layer; spec is JSON: type, shapes that it is built for, parameters."""
    config = json.loads(spec)
    shapes = config.pop("shapes")
    layer = types[config.pop("type")](**config)
    layer.build(*shapes, dtype=dtype, seed=seed)
    return layer


def dtype_of(tensors: Tensors) -> str:
    """What a layer with such weights computes in."""
    return "float64" if any(t.dtype == torch.float64 for t in tensors) else "float32"


def own(spec: str, memory: Tensors, layer: Layer) -> None:
    """From now on the layer runs calls whose weights are these tensors, all of its memory."""
    _owners[_place(spec, memory)] = layer


def owned(spec: str, weights: Tensors) -> bool:
    return _place(spec, weights) in _owners


def _place(spec: str, weights: Tensors) -> Any:
    return (spec, *((t.data_ptr(), t.dtype, t.shape, t.stride()) for t in weights))


def names(layer: Layer, statistic: bool) -> list[str]:
    return [w.name for w in layer.weights.info() if w.statistic == statistic]


def take_spare(key: Any) -> Layer:
    with _lock:
        for entry in _spare:
            if entry[0] == key:
                _spare.remove(entry)
                return entry[1]
    return make(*key)


def give_back(key: Any, layer: Layer) -> None:
    _spare.append((key, layer))


def layer_with(
    spec: str, inputs: Tensors, weights: Tensors, statistics: Tensors
) -> tuple[Any, Layer]:
    """A layer with these weights, and its key among the spare ones: None for an owner."""
    layer, key = _owners.get(_place(spec, weights)) if weights else None, None
    if layer is None:
        key = (spec, dtype_of(weights or statistics or inputs))
        layer = take_spare(key)
        layer.weights.update(dict(zip(names(layer, False), weights)))
    for name, value in zip(names(layer, True), statistics):
        if not np.array_equal(layer.weights[name], value.float().numpy()):
            layer.weights[name] = value
    return key, layer
