# SPDX-License-Identifier: Apache-2.0
"""A layer as a function of its weights and inputs, for frameworks that keep weights themselves (keras.py, jax.py)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _attn
from .layer import Layer, WeightInfo, from_core

Shape = Sequence["int | None"]


class Call(NamedTuple):
    """What is fixed of a call: its arrays are the weights, then these inputs, then the seed (two numbers) if seeded."""

    inputs: tuple[str, ...]
    options: Mapping[str, Any]
    seeded: bool


class Stateless:
    """A built layer whose weights are those of the call. Any number of threads may call; one at a time runs."""

    def __init__(
        self,
        attention_type: str,
        config: Mapping[str, Any],
        shapes: Mapping[str, Shape],
        dtype: Any,
        seed: int = 0,
    ) -> None:
        self.layer: Layer = make(attention_type, config)
        ports = input_names(attention_type)
        given = [shapes.get(name) for name in ports]
        self.layer.build(*given, dtype=dtype, seed=seed)
        self.weights: list[WeightInfo] = self.layer.weights.info()
        self.statistics: list[int] = [n for n, w in enumerate(self.weights) if w.statistic]
        self.penalized: bool = penalized(self.layer)
        self.functions: dict[Any, Any] = {}  # of frameworks, by what is fixed of a call
        self._lock = threading.Lock()

    def initial(self) -> list[np.ndarray[Any, Any]]:
        """The weights that the layer was built with; before the first call."""
        return [np.array(self.layer.weights[w.name]) for w in self.weights]

    def shapes(
        self, call: Call, given: Sequence[Shape], dtypes: Sequence[Any]
    ) -> list[tuple[int | None, ...]]:
        """Shapes of the outputs for inputs of these; None is an extent that is not known, in and out."""
        found = [self._shapes(call, given, dtypes, unknown) for unknown in (16, 64)]
        return [tuple(a if a == b else None for a, b in zip(*both)) for both in zip(*found)]

    def _shapes(
        self, call: Call, given: Sequence[Shape], dtypes: Sequence[Any], unknown: int
    ) -> list[tuple[int, ...]]:
        # All unknown extents are the same: batches must agree, and the squares have whole roots.
        inputs = {}
        for name, shape, dtype in zip(call.inputs, given, dtypes):
            zero = np.float32(0) if "float" in str(dtype) else np.False_
            inputs[name] = np.broadcast_to(zero, [unknown if n is None else n for n in shape])
        with self._lock:
            return list(self.layer.output_shapes(**inputs, **call.options).values())

    def run(self, call: Call, arrays: Sequence[Any]) -> list[Any]:
        """Outputs; the penalty of the regularizers where there are any; the new statistics in training calls."""
        with self._lock:
            inputs = self._load(call, arrays)
            results = _listed(self.layer(**inputs))
            if call.options.get("training"):
                results += [
                    np.array(self.layer.weights[self.weights[n].name]) for n in self.statistics
                ]
            if self.penalized:
                self._load(call, arrays)
                penalty = sum(self.layer.losses(**inputs).values())
                at = len(results) - (len(self.statistics) if call.options.get("training") else 0)
                results.insert(at, np.asarray(penalty, dtype=self.layer.dtype))
        return results

    def gradients(self, call: Call, arrays: Sequence[Any], upstream: Sequence[Any]) -> list[Any]:
        """Of the weights and inputs of run(), None where there is none; upstream: of its results."""
        with self._lock:
            inputs = self._load(call, arrays)
            outputs, tape = self.layer.forward(**inputs, record=True)
            n = len(_listed(outputs))
            above, share = list(upstream[:n]), 0.0
            if self.penalized:
                share = float(upstream[n])
            if share:  # backward() adds the penalty's gradient as it is
                above = [dy / share for dy in above]
            found = self.layer.backward(tape, above, penalties=share != 0)
        wanted = [found.weights.get(w.name) for w in self.weights]
        wanted += [found.inputs.get(name) for name in call.inputs]
        return [g * share if share and g is not None else g for g in wanted]

    def _load(self, call: Call, arrays: Sequence[Any]) -> dict[str, Any]:
        """Sets the weights; inputs and options as the layer takes them."""
        n = len(self.weights)
        for weight, value in zip(self.weights, arrays[:n]):
            if not weight.dtype.startswith("float"):  # which frameworks keep in types of their own
                value = np.asarray(value).astype(weight.dtype)
            self.layer._set_weight(weight.name, value)
        keywords = dict(zip(call.inputs, arrays[n:]), **call.options)
        if call.seeded:
            keywords["seed"] = join_seed(arrays[-1])
        return keywords


def make(attention_type: str, config: Mapping[str, Any]) -> Layer:
    """A layer that writes no log lines, as the classes of the types do."""
    return from_core(_attn.create(attention_type, dict(config), None, False), attention_type)


def input_names(attention_type: str) -> list[str]:
    """In the order of the type's."""
    from .layers import types

    return [port["name"] for port in types.schema(attention_type)["inputs"]]


def tables(config: Mapping[str, Any]) -> list[str]:
    """Names of the tables of score programs that each call of such a layer brings: inputs behind those of the type."""
    captures = config.get("captures") or {}
    return [name for name, c in captures.items() if isinstance(c, Mapping) and c.get("input")]


def ports(schema: Mapping[str, Any], config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a call of such a layer takes, in its order."""
    own: list[Mapping[str, Any]] = list(schema["inputs"])
    return own + [{"name": name, "aliases": []} for name in tables(config)]


def sort_inputs(
    attention_type: str, config: Mapping[str, Any], inputs: Sequence[Any], named: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays that are given, by their own names in the order of the call, and all other keywords."""
    from .layers import types

    if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
        inputs = inputs[0]
    schema = types.schema(attention_type)
    taken = ports(schema, config)
    options, given = dict(named), {}
    for n, port in enumerate(taken):
        found = [options.pop(name, None) for name in (port["name"], *port["aliases"])]
        found = [a for a in (*inputs[n : n + 1], *found) if a is not None]
        if len(found) > 1:
            raise TypeError(f"{attention_type}: input '{port['name']}' is given twice")
        if found:
            given[port["name"]] = found[0]
    known = keywords(schema)
    for word in options:
        if word not in known:
            raise TypeError(f"{attention_type}: {_attn.unknown_keyword(attention_type, word)}")
    if len(inputs) > len(taken) or not given:
        names = [port["name"] for port in taken]
        raise TypeError(f"{attention_type}: {len(inputs)} inputs given; the type takes {names}")
    return given, options


def keywords(schema: Mapping[str, Any]) -> list[str]:
    """Arguments of a call, by all their names."""
    return [name for a in schema["arguments"] for name in (a["name"], *a["aliases"])]


def penalized(layer: Layer) -> bool:
    """Whether a regularizer is set."""
    from .layers import types

    config = layer.get_config()
    kinds = {p["name"]: p["kind"] for p in types.schema(layer.type)["parameters"]}
    return any(kind.startswith("regularizer") and config.get(n) for n, kind in kinds.items())


def join_seed(pair: Any) -> int:
    """The seed of 64 bits that frameworks keep as two numbers."""
    high, low = (int(n) & 0xFFFFFFFF for n in np.asarray(pair))
    return high << 32 | low


def like(gradient: Any, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A gradient in the dtype of its array, zeros where there is none."""
    if gradient is None:
        return np.zeros(array.shape, array.dtype)
    return np.asarray(gradient).astype(array.dtype, copy=False)


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple) else [outputs]
