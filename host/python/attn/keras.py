# SPDX-License-Identifier: Apache-2.0
"""Layers in models of Keras 3, on the back ends torch, tensorflow and jax.

    import attn.keras

    model = keras.Sequential([keras.Input((16, 64)), attn.keras.Layer("multi_head", dim=64, num_heads=4)])
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ._stateless import Call, Stateless, input_names, like, make, penalized


@keras.saving.register_keras_serializable(package="attn")
class Layer(keras.layers.Layer):  # type: ignore[misc]
    """An attention layer. Its variables have the paths of its weights: ``multi_head/query/kernel``.

    Initial weights are drawn by the type's own initializers, from a seed that keras.utils.set_random_seed decides.
    Penalties of regularizers are among ``layer.losses``; statistics are variables that are not trained.

    Args:
        type: a name of attn.list_attention_types().
        name, dtype, trainable: as in all layers of Keras.
        **config: parameters of the type, checked here.
    """

    def __init__(
        self, type: str, *, name: str | None = None, dtype: Any = None, trainable: bool = True, **config: Any
    ) -> None:
        if name is None:
            number = keras.backend.get_uid(f"attn_{type}")
            name = type if number == 1 else f"{type}_{number - 1}"
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        checked = make(type, config)
        self.type = type
        self.penalized = penalized(checked)
        self.config = checked.get_config()
        del self.config["name"]
        self.ports = [n for n in input_names(type) if n != "attention_mask"]
        self.supports_masking = "attention_mask" in input_names(type)
        self.supports_jit = keras.backend.backend() == "jax"  # XLA of tensorflow cannot call us
        self.seeds = keras.random.SeedGenerator(random.getrandbits(31))
        self._core: Stateless | None = None

    def build(self, input_shape: Any) -> None:
        """input_shape: of the one input, or a list of several in the type's order, None for one that is not given."""
        single = not any(isinstance(s, (list, tuple)) for s in input_shape)
        shapes = [input_shape] if single else input_shape
        given = {n: tuple(s) for n, s in zip(self.ports, shapes) if s is not None}
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        core = Stateless(self.type, self.config, given, dtype, random.getrandbits(63))
        self._own = []
        for weight, value in zip(core.weights, core.initial()):
            *scopes, name = weight.name.split("/")
            with contextlib.ExitStack() as stack:
                for scope in scopes:
                    stack.enter_context(keras.name_scope(scope))
                variable = self.add_weight(
                    name=name,
                    shape=weight.shape,
                    dtype=self.variable_dtype if weight.dtype.startswith("float") else weight.dtype,
                    initializer=_Values(value),
                    trainable=weight.trainable and not weight.statistic,
                )
            self._own.append(variable)
        self._core = core

    def call(
        self,
        inputs: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        mask: Any = None,
        **arguments: Any,
    ) -> Any:
        """inputs: a tensor, or a list of the type's inputs in their order.

        attention_mask: keys that may be used, True or > 0; ranks 1 to 4, (batch, key) for rank 2. mask: Keras' own,
        of embeddings and the like, which is added to it. **arguments: those of the type, use_causal_mask=True.
        """
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        masks = list(mask) if isinstance(mask, (list, tuple)) else [mask]
        if len(tensors) > len(self.ports):
            raise ValueError(f"{self.name}: {len(tensors)} inputs given; the type takes {self.ports}")
        given = {n: t for n, t in zip(self.ports, tensors) if t is not None}
        if mask is None:  # Keras gives it to calls without attention_mask only
            masks = [getattr(t, "_keras_mask", None) for t in tensors]
        keys = masks[min(1, len(masks) - 1)]  # the second input is the one that has the keys
        attention_mask = _both(keys if self.supports_masking else None, attention_mask)
        if attention_mask is not None:
            given["attention_mask"] = attention_mask
        call = Call(tuple(given), {**arguments, "training": bool(training)}, bool(training))
        arrays = [v.value for v in self._own] + list(given.values())
        if call.seeded:
            arrays.append(self.seeds.next())
        results = _RUN[keras.backend.backend()](self._core, call, arrays)
        statistics = self._core.statistics if training else []
        for place, value in zip(statistics, results[len(results) - len(statistics) :]):
            self._own[place].assign(value)
        n = len(results) - len(statistics)
        if self.penalized:
            n -= 1
            self.add_loss(results[n])
        return results[0] if n == 1 else tuple(results[:n])

    def compute_output_spec(
        self, inputs: Any, attention_mask: Any = None, training: Any = None, mask: Any = None, **arguments: Any
    ) -> Any:
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        given = {n: t for n, t in zip(self.ports, tensors) if t is not None}
        if attention_mask is not None:
            given["attention_mask"] = attention_mask
        call = Call(tuple(given), arguments, False)
        shapes = self._core.shapes(call, [t.shape for t in given.values()])
        specs = [keras.KerasTensor(shape, self.compute_dtype) for shape in shapes]
        return specs[0] if len(specs) == 1 else tuple(specs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The output has the positions of the first input."""
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else previous_mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "type": self.type, **self.config}


class _Values:
    """An initializer that gives what was drawn already."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self._values = values

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return keras.ops.convert_to_tensor(self._values, dtype)


def _both(mask: Any, attention_mask: Any) -> Any:
    """attention_mask without the keys that Keras' mask (batch, key) leaves out."""
    if mask is None or attention_mask is None:
        return attention_mask if mask is None else mask
    rank = len(attention_mask.shape)
    ops = keras.ops
    if rank > 2:
        mask = ops.reshape(mask, (ops.shape(mask)[0], *[1] * (rank - 2), ops.shape(mask)[1]))
    return ops.where(mask, attention_mask, ops.zeros_like(attention_mask))


@functools.cache
def _torch_function() -> Any:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, core: Stateless, call: Call, *values: Any) -> tuple[Any, ...]:
            ctx.save_for_backward(*values)
            ctx.core, ctx.call = core, call
            return tuple(torch.as_tensor(r) for r in core.run(call, values))

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
            values = ctx.saved_tensors
            found = ctx.core.gradients(ctx.call, values, upstream)
            cast = [None if g is None else g.to(v.dtype) for g, v in zip(found, values)]
            return (None, None, *cast, *[None] * (len(values) - len(cast)))

    return Function


def _run_torch(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    return list(_torch_function().apply(core, call, *arrays))


def _run_tensorflow(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    import tensorflow as tf

    n = len(core.weights)
    kind = next(a.dtype for a in arrays[n:] if a.dtype.is_floating)
    given = [a.shape.as_list() for a in arrays[n : n + len(call.inputs)]]
    specs = [(kind, shape) for shape in core.shapes(call, given)]
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

    @tf.custom_gradient
    def op(*values: Any) -> Any:
        results = tf.numpy_function(forward, values, kinds)
        for result, (_, shape) in zip(results, specs):
            result.set_shape(shape)

        def gradient(*upstream: Any) -> list[Any]:
            some = [v.dtype for v in values[: n + len(call.inputs)]]
            found = tf.numpy_function(backward, [*values, *upstream], some)
            for g, v in zip(found, values):
                g.set_shape(v.shape)
            chosen = [g if v.dtype.is_floating else None for g, v in zip(found, values)]
            return [*chosen, *[None] * (len(values) - len(chosen))]

        return results, gradient

    return list(op(*[tf.convert_to_tensor(a) for a in arrays]))


def _run_jax(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    from . import jax

    return jax.run(core, call, arrays)


_RUN = {"torch": _run_torch, "tensorflow": _run_tensorflow, "jax": _run_jax}
