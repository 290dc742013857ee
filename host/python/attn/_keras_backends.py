# SPDX-License-Identifier: Apache-2.0
"""How keras.py calls the library from each back end: a call of the host whose gradient is another one."""

from __future__ import annotations

import functools
from typing import Any

import keras  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np

from ._stateless import Call, Stateless, like


def run(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    """Stateless.run() for tensors of the back end."""
    return _RUN[keras.backend.backend()](core, call, arrays)


@functools.cache
def _torch_function() -> Any:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, core: Stateless, call: Call, *values: Any) -> tuple[Any, ...]:
            ctx.save_for_backward(*values)
            ctx.core, ctx.call = core, call
            results = tuple(torch.as_tensor(r) for r in core.run(call, values))
            if call.options["training"] and core.statistics:
                ctx.mark_non_differentiable(*results[-len(core.statistics) :])
            return results

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
            values = ctx.saved_tensors
            found = ctx.core.gradients(ctx.call, values, upstream)
            cast = [None if g is None else g.to(v.dtype) for g, v in zip(found, values)]
            return (None, None, *cast, *[None] * (len(values) - len(cast)))

    return Function


def _run_torch(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    arrays = list(arrays)
    for n in core.statistics:
        arrays[n] = arrays[n].clone()  # they change before backward() reads them
    return list(_torch_function().apply(core, call, *arrays))


def _run_tensorflow(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    import tensorflow as tf  # type: ignore[import-not-found,import-untyped,unused-ignore]

    n = len(core.weights)
    kind = next(a.dtype for a in arrays[n:] if a.dtype.is_floating)
    inputs = arrays[n : n + len(call.inputs)]
    shapes = core.shapes(call, [a.shape.as_list() for a in inputs], [a.dtype.name for a in inputs])
    specs = [(kind, shape) for shape in shapes]
    if core.penalized:
        specs.append((tf.as_dtype(core.layer.dtype), ()))
    if call.options["training"]:
        specs += [(arrays[k].dtype, arrays[k].shape) for k in core.statistics]
    kinds = [kind for kind, _ in specs]

    def forward(*values: Any) -> list[Any]:
        results = core.run(call, values)
        return [np.asarray(r).astype(k.as_numpy_dtype) for r, k in zip(results, kinds)]

    def backward(*values: Any) -> list[Any]:
        arrays, upstream = values[: -len(kinds)], values[-len(kinds) :]
        found = zip(core.gradients(call, arrays, upstream), arrays)
        return [like(g, a) for g, a in found]

    @tf.custom_gradient  # type: ignore[untyped-decorator,unused-ignore]
    def op(*values: Any) -> Any:
        results = _listed(tf.numpy_function(forward, values, kinds))
        for result, (_, shape) in zip(results, specs):
            result.set_shape(shape)

        def gradient(*upstream: Any) -> list[Any]:
            some = [v.dtype for v in values[: n + len(call.inputs)]]
            found = _listed(tf.numpy_function(backward, [*values, *upstream], some))
            for g, v in zip(found, values):
                g.set_shape(v.shape)
            chosen = [g if v.dtype.is_floating else None for g, v in zip(found, values)]
            return [*chosen, *[None] * (len(values) - len(chosen))]

        return results, gradient

    return list(op(*[tf.convert_to_tensor(a) for a in arrays]))


def _listed(results: Any) -> list[Any]:
    """What numpy_function gives: one result is no list when it runs at once."""
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _run_jax(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    from . import jax

    return jax.run(core, call, arrays)


_RUN = {"torch": _run_torch, "tensorflow": _run_tensorflow, "jax": _run_jax}
