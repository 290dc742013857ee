# SPDX-License-Identifier: Apache-2.0
"""Layers in models of Keras 3, on the back ends torch, tensorflow and jax.

import attn.keras

model = keras.Sequential([keras.Input((16, 64)), attn.keras.Layer(type, dim=64, num_heads=4)])
"""

from __future__ import annotations

import contextlib
import random
from typing import Any

import keras  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np

from ._keras_backends import run
from ._stateless import Call, Stateless, input_names, make, penalized, tables
from .layer import WeightInfo


@keras.saving.register_keras_serializable(package="attn")
class Layer(keras.layers.Layer):  # type: ignore[misc,unused-ignore]
    """An attention layer. Its variables have the paths of its weights: ``<name of the layer>/query/kernel``.

    Initial weights are drawn by the type's own initializers, from a seed that keras.utils.set_random_seed decides.
    Penalties of regularizers are among ``layer.losses``; statistics are variables that are not trained.

    Args:
        type: a name of attn.list_attention_types().
        name, dtype, trainable: as in all layers of Keras.
        **config: parameters of the type, checked here.
    """

    def __init__(
        self,
        type: str,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **config: Any,
    ) -> None:
        if name is None:
            number = keras.backend.get_uid(f"attn_{type}")
            name = type if number == 1 else f"{type}_{number - 1}"
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        checked = make(type, config)
        self.type: str = type
        self.penalized: bool = penalized(checked)
        self.config: dict[str, Any] = checked.get_config()
        del self.config["name"]
        self.ports: list[str] = [n for n in input_names(type) if n != "attention_mask"]
        self.tables: list[str] = tables(self.config)
        self.supports_masking: bool = "attention_mask" in input_names(type)
        self.supports_jit: bool = (
            keras.backend.backend() == "jax"
        )  # XLA of tensorflow cannot call us
        self.seeds: Any = keras.random.SeedGenerator(random.getrandbits(31))
        self.own: list[Any] = []
        self._core: Any = None

    def build(self, input_shape: Any) -> None:
        """input_shape: of the one input, or a list of several in the type's order, None for one that is not given."""
        single = not any(isinstance(s, (list, tuple)) for s in input_shape)
        shapes = [input_shape] if single else input_shape
        given = {n: tuple(s) for n, s in zip(self.ports, shapes) if s is not None}
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        core = Stateless(self.type, self.config, given, dtype, random.getrandbits(63))
        self.own = [self._variable(w, a) for w, a in zip(core.weights, core.initial())]
        self._core = core

    def _variable(self, weight: WeightInfo, value: np.ndarray[Any, Any]) -> keras.Variable:
        *scopes, name = weight.name.split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            return keras.Variable(
                lambda shape, dtype: keras.ops.convert_to_tensor(value, dtype),
                shape=weight.shape,
                dtype=self.variable_dtype if weight.dtype.startswith("float") else weight.dtype,
                trainable=weight.trainable and not weight.statistic,
                name=name,
            )

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
        of embeddings and the like, which is added to it. **arguments: those of the type, use_causal_mask=True, and
        tables that the score program has calls bring.
        """
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        masks = list(mask) if isinstance(mask, (list, tuple)) else [mask]
        if len(tensors) > len(self.ports):
            raise ValueError(
                f"{self.name}: {len(tensors)} inputs given; the type takes {self.ports}"
            )
        given = {n: t for n, t in zip(self.ports, tensors) if t is not None}
        if mask is None:  # Keras gives it to calls without attention_mask only
            masks = [getattr(t, "_keras_mask", None) for t in tensors]
        keys = masks[min(1, len(masks) - 1)]  # the second input is the one that has the keys
        attention_mask = _both(keys if self.supports_masking else None, attention_mask)
        if attention_mask is not None:
            given["attention_mask"] = attention_mask
        given.update({n: arguments.pop(n) for n in self.tables if n in arguments})
        call = Call(tuple(given), {**arguments, "training": bool(training)}, bool(training))
        arrays = [v.value for v in self.own] + list(given.values())
        if call.seeded:
            arrays.append(self.seeds.next())
        results = run(self._core, call, arrays)
        statistics = self._core.statistics if training else []
        for place, value in zip(statistics, results[len(results) - len(statistics) :]):
            self.own[place].assign(value)
        n = len(results) - len(statistics)
        if self.penalized:
            n -= 1
            self.add_loss(results[n])
        return results[0] if n == 1 else tuple(results[:n])

    def compute_output_spec(
        self,
        inputs: Any,
        attention_mask: Any = None,
        training: Any = None,
        mask: Any = None,
        **arguments: Any,
    ) -> Any:
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        given = {n: t for n, t in zip(self.ports, tensors) if t is not None}
        if attention_mask is not None:
            given["attention_mask"] = attention_mask
        given.update({n: arguments.pop(n) for n in self.tables if n in arguments})
        call = Call(tuple(given), arguments, False)
        shapes = self._core.shapes(
            call, [t.shape for t in given.values()], [t.dtype for t in given.values()]
        )
        specs = [keras.KerasTensor(shape, self.compute_dtype) for shape in shapes]
        return specs[0] if len(specs) == 1 else tuple(specs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The output has the positions of the first input."""
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else previous_mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "type": self.type, **self.config}


def _both(mask: Any, attention_mask: Any) -> Any:
    """attention_mask without the keys that Keras' mask (batch, key) leaves out."""
    if mask is None or attention_mask is None:
        return attention_mask if mask is None else mask
    rank = len(attention_mask.shape)
    ops = keras.ops
    if rank > 2:
        mask = ops.reshape(mask, (ops.shape(mask)[0], *[1] * (rank - 2), ops.shape(mask)[1]))
    return ops.where(mask, attention_mask, ops.zeros_like(attention_mask))
