# SPDX-License-Identifier: Apache-2.0
"""Code that type checkers take."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

import attn
from attn import AttentionType, MultiHeadAttention

kind: AttentionType = "cbam"
layer: attn.Layer = attn.create_attention_layer(kind, channels=8)
other: attn.Layer = attn.create_attention_layer("mylab.sink_window", width=4)
direct: MultiHeadAttention = attn.MultiHeadAttention(64, num_heads=8, name="first")
window = attn.WindowAttention(dim=96, window_size=7, num_heads=3, attention_mode="linear")
conv = attn.NonLocalAttention(attention_channels=8, kernel_size=(3, 5))

x = np.zeros((1, 2, 64), np.float32)
direct.build(x.shape, (None, 2, 64), None, dtype=np.float64, seed=1)
y: Any = direct(x, training=False)
y, tape = direct.forward(x, record=True)
gradients: attn.Gradients = direct.backward(tape, y)
names: list[str] = [w.name for w in direct.weights.info() if w.trainable]
direct.weights["kernel"][...] = 0
with direct.make_state(1, capacity=8) as state:
    length: int = state.length
    state.reorder([0, 0])
direct.save(pathlib.Path("layer.safetensors"))
again: attn.Layer = attn.load("layer.safetensors")
classes: type[attn.Layer] = attn.types["cbam"]
words: list[str] = [c["claim"] for c in attn.get_attention_claims("cbam") if c["condition"]]
strict: attn.Layer = attn.create_attention_layer("cbam", channels=8, require=["deterministic"])
try:
    attn.validate_attention_config("cbam", channels=-1)
except attn.InvalidArgument as error:
    hint: str = error.hint
