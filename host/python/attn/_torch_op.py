# SPDX-License-Identifier: Apache-2.0
"""The call of a layer as an operator of torch: ``torch.ops.attn.layer``.

It is a function of inputs, weights and statistics that changes none of them, with a gradient, and with shapes for
tensors without memory, so that ``torch.compile`` and ``torch.export`` take it. Threads: any number at once.
"""

from __future__ import annotations

import ast
import itertools
import json
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._stateless import ports as ports_of
from ._torch_layers import Tensors, give_back, layer_with, names, take_spare
from .layer import Layer
from .layers import types

_CALL = "Tensor[] inputs, int[] ports, Tensor[] weights, Tensor[] statistics, Tensor? seed, str spec, str options, bool training"

_records: weakref.WeakValueDictionary[int, _Record] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


class _Record(np.ndarray[Any, Any]):
    """The number of a recorded call, as the memory of a tensor: the tape lives as long as that memory."""

    tape: Any
    layer: Layer


def _positional(inputs: Sequence[Any], ports: Sequence[int]) -> list[Any]:
    """Inputs in the order of the type's; None: not given."""
    given = [None] * (max(ports, default=-1) + 1)
    for port, value in zip(ports, inputs):
        given[port] = value
    return given


def _options(seed: Tensor | None, options: str, training: bool) -> dict[str, Any]:
    number = None if seed is None else int(seed)
    return {**ast.literal_eval(options), "training": training, "seed": number}


@torch.library.custom_op(
    "attn::layer", mutates_args=(), schema=f"({_CALL}, bool record) -> Tensor[]"
)
def layer_op(
    inputs: Tensors,
    ports: Sequence[int],
    weights: Tensors,
    statistics: Tensors,
    seed: Tensor | None,
    spec: str,
    options: str,
    training: bool,
    record: bool,
) -> list[Tensor]:
    """Outputs; of a training call also the new statistics; last the number of the record."""
    number: np.ndarray[Any, Any] = np.zeros((), np.int64)
    with torch.no_grad():
        key, layer = layer_with(spec, inputs, weights, statistics)
        given, keywords = _positional(inputs, ports), _options(seed, options, training)
        if record:
            outputs, tape = layer.forward(*given, record=True, **keywords)
            kept = np.array(next(_numbers)).view(_Record)
            kept.tape, kept.layer = tape, layer
            _records[int(kept)] = number = kept
        else:
            outputs = layer(*given, **keywords)
        results = [*outputs] if isinstance(outputs, tuple) else [outputs]
        if training:
            for name, old in zip(names(layer, True), statistics):
                results.append(torch.from_numpy(layer.weights[name].copy()).to(old.dtype))
    if key is not None and not record:
        give_back(key, layer)
    return [*results, torch.from_numpy(number)]


@layer_op.register_fake
def _(inputs, ports, weights, statistics, seed, spec, options, training, record):  # type: ignore[no-untyped-def]
    first = next(t for t in inputs if t.is_floating_point())
    outputs = [
        first.new_empty(s) for s in _output_shapes(spec, options, _positional(inputs, ports))
    ]
    changed = [torch.empty_like(t) for t in statistics] if training else []
    return [*outputs, *changed, torch.empty((), dtype=torch.int64)]


def _output_shapes(spec: str, options: str, inputs: Sequence[Tensor | None]) -> list[Sequence[Any]]:
    """By the schema where extents are symbols, so that they stay symbols; else what the layer says."""
    keywords, schema = ast.literal_eval(options), types.schema(json.loads(spec)["type"])
    extents: dict[str, Any] = {"1": 1}
    for port, tensor in zip(schema["inputs"], inputs):
        for shape in port["shapes"] if tensor is not None and not port["mask"] else ():
            words = shape.strip("()").split(", ")
            if len(words) == tensor.ndim:  # type: ignore[union-attr]
                extents.update(zip(words, tensor.shape))  # type: ignore[union-attr]
    wanted = [
        output["shape"].strip("()").split(", ")
        for output in schema["outputs"]
        if output["argument"] is None or keywords.get(output["argument"])
    ]
    if any(isinstance(e, torch.SymInt) for e in extents.values()):
        if all(word in extents for words in wanted for word in words):
            return [[extents[word] for word in words] for words in wanted]
    key = (spec, "float32")
    layer = take_spare(key)
    n_inputs = len(schema["inputs"])
    shapes = [None if t is None else _stand_in(t, n >= n_inputs) for n, t in enumerate(inputs)]
    found: list[Sequence[Any]] = [*layer.output_shapes(*shapes, **keywords).values()]
    give_back(key, layer)
    return found


def _stand_in(tensor: Tensor, table: bool) -> Any:
    """The shape, or of a table an array, because its kind counts."""
    shape = tuple(int(n) for n in tensor.shape)
    if not table:
        return shape
    return np.broadcast_to(np.float32(0) if tensor.is_floating_point() else np.int32(0), shape)


# ---- gradient -------------------------------------------------------------------------------------


@torch.library.custom_op(
    "attn::layer_backward",
    mutates_args=(),
    schema=f"(Tensor[] gradients, Tensor number, bool[] wanted, {_CALL}) -> Tensor[]",
)
def layer_backward_op(
    gradients: Tensors,
    number: Tensor,
    wanted: Sequence[bool],
    inputs: Tensors,
    ports: Sequence[int],
    weights: Tensors,
    statistics: Tensors,
    seed: Tensor | None,
    spec: str,
    options: str,
    training: bool,
) -> list[Tensor]:
    """Gradients of the wanted inputs, then weights. A record serves once; without one the call is made again."""
    record = _records.pop(int(number), None)
    with torch.no_grad():
        if record is not None:
            layer, tape = record.layer, record.tape
        else:
            _, layer = layer_with(spec, inputs, weights, statistics)
            given, keywords = _positional(inputs, ports), _options(seed, options, training)
            _, tape = layer.forward(*given, record=True, **keywords)
        found = layer.backward(tape, *gradients)
        taken = ports_of(types.schema(layer.type), json.loads(spec))
        values = [found.inputs.get(taken[port]["name"]) for port in ports]
        values += [found.weights.get(name) for name in names(layer, False)]
        results = []
        for value, tensor, needed in zip(values, [*inputs, *weights], wanted):
            if needed:
                zero = torch.zeros_like(tensor, memory_format=torch.contiguous_format)
                results.append(zero if value is None else value.to(tensor.dtype))
    return results


@layer_backward_op.register_fake
def _(gradients, number, wanted, inputs, ports, weights, *rest):  # type: ignore[no-untyped-def]
    chosen = (t for t, needed in zip([*inputs, *weights], wanted) if needed)
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in chosen]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    given, ctx.ports, weights, statistics, seed, *ctx.rest, _ = inputs
    ctx.n = (len(given), len(weights), len(statistics))
    ctx.save_for_backward(*given, *weights, *statistics, seed, output[-1])
    ctx.n_outputs = len(output) - 1 - (len(statistics) if ctx.rest[-1] else 0)
    ctx.mark_non_differentiable(*output[ctx.n_outputs :])


def _backward(ctx: Any, gradients: Tensors) -> tuple[Any, ...]:
    saved = list(ctx.saved_tensors)
    number, seed = saved.pop(), saved.pop()
    n, m, _ = ctx.n
    inputs, weights, statistics = saved[:n], saved[n : n + m], saved[n + m :]
    needed = ctx.needs_input_grad
    wanted = [*needed[0], *needed[2]]
    outputs = [g.contiguous() for g in gradients[: ctx.n_outputs]]
    call = (inputs, ctx.ports, weights, statistics, seed, *ctx.rest)
    found = iter(layer_backward_op(outputs, number, wanted, *call))
    slots = [next(found) if w else None for w in wanted]
    return slots[:n], None, slots[n:], [None] * len(statistics), *[None] * 5


layer_op.register_autograd(_backward, setup_context=_setup)
