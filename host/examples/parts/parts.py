# SPDX-License-Identifier: Apache-2.0
"""A stack of transformer blocks around attention layers of any type, and its training.

The same model as transformer.hpp has, in the same files: every layer is one of the library, here also with gradients.
The plugin example_parts brings norms and dense layers; ``load`` takes its file.
"""

from __future__ import annotations

import json
import pathlib
import struct
from typing import Any

import numpy as np

import attn

EXAMPLES = pathlib.Path(__file__).resolve().parents[1]
PLUGIN = EXAMPLES.parents[1] / "build/lib/attn/examples/example_parts.so"


def load(plugin: str | pathlib.Path | None = None) -> None:
    """Loads the plugin: the file given, or the one in build/."""
    file = pathlib.Path(plugin or PLUGIN)
    if not file.exists():
        raise SystemExit(
            f"{file} is missing; cmake --build build --target example_parts makes it in build/"
        )
    attn.load_plugins(str(file))


class Transformer:
    """x = x + attention(norm(x)), x = x + feed_forward(norm(x)) for each block; then head(norm(x)).

    model: ``{"attention": {...}, "blocks": n, "hidden": n, "outputs": n}``. tables: further weights by name, such as
    an embedding, that are trained and stored with the layers'.
    """

    def __init__(self, model: dict[str, Any], tables: dict[str, np.ndarray], seed: int = 0) -> None:
        self.tables = tables
        dim = model["attention"]["dim"]
        make = attn.create_attention_layer
        self.layers: dict[str, attn.Layer] = {}
        self.blocks = model["blocks"]
        for n in range(self.blocks):
            wide = {"dim": dim, "hidden": model["hidden"], "outputs": dim}
            self.layers[f"blocks.{n}.norm_1."] = make("example.norm", dim=dim)
            self.layers[f"blocks.{n}.attention."] = attn.create_attention_from_config(
                model["attention"]
            )
            self.layers[f"blocks.{n}.norm_2."] = make("example.norm", dim=dim)
            self.layers[f"blocks.{n}.feed_forward."] = make("example.feed_forward", **wide)
        self.layers["norm."] = make("example.norm", dim=dim)
        self.layers["head."] = make("example.feed_forward", dim=dim, outputs=model["outputs"])
        for n, layer in enumerate(self.layers.values()):
            layer.build((None, None, dim), seed=seed + n)
        self.tapes: list[tuple[str, Any]] = []
        self.gradients: dict[str, np.ndarray] = {}
        self.recording = False

    # ---- calls ------------------------------------------------------------------------------------

    def _call(self, name: str, x: np.ndarray, **options: Any) -> np.ndarray:
        if not self.recording:
            return self.layers[name](x, **options)
        y, tape = self.layers[name].forward(x, record=True, training=True, **options)
        self.tapes.append((name, tape))
        return y

    def block(self, n: int, x: np.ndarray, **options: Any) -> np.ndarray:
        """options: of the attention's call."""
        name = f"blocks.{n}."
        x = x + self._call(name + "attention.", self._call(name + "norm_1.", x), **options)
        return x + self._call(name + "feed_forward.", self._call(name + "norm_2.", x))

    def outputs(self, x: np.ndarray) -> np.ndarray:
        return self._call("head.", self._call("norm.", x))

    # ---- gradients, in the opposite order of the calls ----------------------------------------------

    def _back(self, dy: np.ndarray) -> np.ndarray:
        name, tape = self.tapes.pop()
        g = self.layers[name].backward(tape, dy)
        self.gradients |= {name + path: value for path, value in g.weights.items()}
        return g.inputs["inputs"]

    def block_backward(self, dy: np.ndarray) -> np.ndarray:
        dy = dy + self._back(self._back(dy))
        return dy + self._back(self._back(dy))

    def outputs_backward(self, dy: np.ndarray) -> np.ndarray:
        return self._back(self._back(dy))

    # ---- weights ------------------------------------------------------------------------------------

    def weights(self) -> dict[str, np.ndarray]:
        """All of them, by name; arrays over the layers' own memory."""
        own = {p + path: w for p, layer in self.layers.items() for path, w in layer.weights.items()}
        return self.tables | own

    def save(self, path: str | pathlib.Path) -> None:
        write_safetensors(path, self.weights())

    def load(self, path: str | pathlib.Path) -> None:
        stored = read_safetensors(path)
        for name, w in self.weights().items():
            w[...] = stored.pop(name)
        if stored:
            raise ValueError(f"{path}: there is no weight {sorted(stored)} in this model")


class AdamW:
    """Loshchilov and Hutter 2019, algorithm 2; matrices alone decay."""

    def __init__(self, decay: float = 0.01) -> None:
        self.decay, self.step, self.moments = decay, 0, {}

    def update(self, weights: dict, gradients: dict, rate: float) -> None:
        self.step += 1
        for name, g in gradients.items():
            m, v = self.moments.setdefault(name, (np.zeros_like(g), np.zeros_like(g)))
            m += 0.1 * (g - m)
            v += 0.01 * (g * g - v)
            unit = np.sqrt(v / (1 - 0.99**self.step)) + 1e-8
            w = weights[name]
            if w.ndim > 1:
                w *= 1 - rate * self.decay
            w -= rate * (m / (1 - 0.9**self.step)) / unit


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over all positions, in nats, and its gradient."""
    z = logits - logits.max(-1, keepdims=True)
    p = np.exp(z)
    p /= p.sum(-1, keepdims=True)
    right = np.take_along_axis(p, labels[..., None], -1)
    gradient = p / labels.size
    np.put_along_axis(gradient, labels[..., None], (right - 1) / labels.size, -1)
    return float(-np.log(right).mean()), gradient.astype(np.float32)


# ---- safetensors, in as many lines as the format needs -------------------------------------------------


KINDS = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1"),
         "BOOL": np.dtype(bool)}  # fmt: skip


def read_header(path: str | pathlib.Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return {"__size__": 8 + size, **json.loads(file.read(size))}


def read_safetensors(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    header, data = read_header(path), pathlib.Path(path).read_bytes()
    start = header.pop("__size__")
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(data[start + begin : start + end], KINDS[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


def write_safetensors(path: str | pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    header, data = {}, b""
    names = {kind: name for name, kind in KINDS.items()}
    for name, tensor in sorted(tensors.items()):
        part = tensor.tobytes()
        place = [len(data), len(data) + len(part)]
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": place,
        }
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
