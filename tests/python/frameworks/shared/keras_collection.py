# SPDX-License-Identifier: Apache-2.0
"""Keras layers with the names, parameters and weights of types of this package, written from their formulas.

What tests/python/frameworks/shared/test_convert_keras.py converts: a collection of such layers stands for any other.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def _layer(cls: type) -> type:
    return keras.saving.register_keras_serializable(package="tests")(cls)


def _attend(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """q (batch, heads, query, d), k and v alike; mask (batch, key), true where a key may be used."""
    scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = ops.where(ops.cast(mask, "bool")[:, None, None, :], scores, scores - 1e9)
    return ops.matmul(ops.softmax(scores), v)


def _split(x: Any, heads: int) -> Any:
    return ops.transpose(ops.reshape(x, (*x.shape[:2], heads, -1)), (0, 2, 1, 3))


def _merge(x: Any) -> Any:
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (*x.shape[:2], -1))


class _Configured(keras.layers.Layer):
    """Keeps its parameters as they were given."""

    defaults: dict[str, Any] = {}

    def __init__(
        self, name: str | None = None, dtype: Any = None, trainable: bool = True, **given: Any
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.options = {**self.defaults, **given}

    def get_config(self) -> dict[str, Any]:
        options = {
            k: (
                keras.initializers.serialize(v)
                if isinstance(v, keras.initializers.Initializer)
                else v
            )
            for k, v in self.options.items()
        }
        return {**super().get_config(), **options}


@_layer
class MultiHeadCrossAttention(_Configured):
    defaults = {"num_heads": 8, "shared_qk_projections": False, "use_bias": True, "qk_norm_type": None,
                "qk_norm_kwargs": None}  # fmt: skip

    def build(self, query_input_shape: Any, kv_input_shape: Any = None) -> None:
        o = self.options
        dense = lambda n, name: keras.layers.Dense(
            n, use_bias=o["use_bias"], name=name, dtype=self.dtype
        )
        names = {"qkv": 3} if o["shared_qk_projections"] else {"q": 1, "kv": 2}
        self.dense = {name: dense(n * o["dim"], name) for name, n in {**names, "proj": 1}.items()}
        for layer in self.dense.values():
            layer.build((None, None, o["dim"]))
        self.norms = []
        if o["qk_norm_type"]:
            kwargs = {"epsilon": 1e-6, **(o["qk_norm_kwargs"] or {})}
            kwargs.pop("rms_scaling", None)
            d = o["dim"] // o["num_heads"]
            for name in ("q_norm", "k_norm"):
                norm = keras.layers.LayerNormalization(name=name, dtype=self.dtype, **kwargs)
                norm.build((None, None, None, d))
                self.norms.append(norm)
        self.built = True

    def call(self, query_input: Any, kv_input: Any = None, attention_mask: Any = None) -> Any:
        h = self.options["num_heads"]
        if "qkv" in self.dense:
            q, k, v = ops.split(self.dense["qkv"](query_input), 3, axis=-1)
        else:
            q = self.dense["q"](query_input)
            k, v = ops.split(
                self.dense["kv"](query_input if kv_input is None else kv_input), 2, axis=-1
            )
        q, k, v = (_split(x, h) for x in (q, k, v))
        if self.norms:
            q, k = self.norms[0](q), self.norms[1](k)
        return self.dense["proj"](_merge(_attend(q, k, v, attention_mask)))


@_layer
class MultiHeadAttention(_Configured):
    defaults = {
        "num_heads": 8,
        "use_bias": False,
        "kernel_initializer": "he_normal",
        "dropout_rate": 0.0,
    }

    def build(self, input_shape: Any) -> None:
        o = self.options
        self.cross = MultiHeadCrossAttention(
            name="cross_attention", dtype=self.dtype, dim=o["dim"], num_heads=o["num_heads"],
            use_bias=o["use_bias"], shared_qk_projections=True,
        )  # fmt: skip
        self.cross.build(input_shape)
        self.built = True

    def call(self, inputs: Any, attention_mask: Any = None) -> Any:
        return self.cross(inputs, attention_mask=attention_mask)


@_layer
class GroupedQueryAttention(_Configured):
    defaults = {"max_seq_len": 64, "rope_theta": 10000.0, "rope_percentage": 1.0, "use_bias": False}

    def build(self, input_shape: Any) -> None:
        o = self.options
        d = o["dim"] // o["num_heads"]
        widths = {
            "w_q": o["dim"],
            "w_k": o["num_kv_heads"] * d,
            "w_v": o["num_kv_heads"] * d,
            "w_o": o["dim"],
        }
        self.dense = {
            n: keras.layers.Dense(w, use_bias=o["use_bias"], name=n) for n, w in widths.items()
        }
        for layer in self.dense.values():
            layer.build((None, None, o["dim"]))
        angles = ops.arange(o["max_seq_len"], dtype="float32")[:, None] * o["rope_theta"] ** (
            -2 * ops.arange(d // 2, dtype="float32") / d
        )
        self.tables = [
            self.add_weight(name=f"{kind}_cached", shape=angles.shape, trainable=False)
            for kind in ("cos", "sin")
        ]
        self.tables[0].assign(ops.cos(angles))
        self.tables[1].assign(ops.sin(angles))
        self.built = True

    def _rotate(self, x: Any) -> Any:
        cos, sin = (t[: x.shape[2]] for t in self.tables)
        a, b = x[..., 0::2], x[..., 1::2]
        return ops.reshape(ops.stack([a * cos - b * sin, a * sin + b * cos], axis=-1), x.shape)

    def call(self, inputs: Any) -> Any:
        o = self.options
        q = self._rotate(_split(self.dense["w_q"](inputs), o["num_heads"]))
        k = self._rotate(_split(self.dense["w_k"](inputs), o["num_kv_heads"]))
        v = _split(self.dense["w_v"](inputs), o["num_kv_heads"])
        k, v = (ops.repeat(x, o["num_heads"] // o["num_kv_heads"], axis=1) for x in (k, v))
        return self.dense["w_o"](_merge(_attend(q, k, v, None)))


@_layer
class ChannelAttention(_Configured):
    defaults = {"ratio": 8, "use_bias": False}

    def build(self, input_shape: Any) -> None:
        o = self.options
        for i, width in ((1, o["channels"] // o["ratio"]), (2, o["channels"])):
            dense = keras.layers.Dense(
                width, use_bias=o["use_bias"], name=f"channel_attention_dense_{i}"
            )
            setattr(self, f"dense_{i}", dense)
            dense.build((None, o["channels"] if i == 1 else o["channels"] // o["ratio"]))
        self.built = True

    def call(self, inputs: Any) -> Any:
        pooled = ops.mean(inputs, axis=(1, 2)), ops.max(inputs, axis=(1, 2))
        z = sum(self.dense_2(ops.relu(self.dense_1(p))) for p in pooled)
        return ops.sigmoid(z)[:, None, None, :]
