# SPDX-License-Identifier: Apache-2.0
"""The window transformer of vision.cpp: ``python vision.py [PICTURE.pgm [PLUGIN]]``.

Prints the share of 360 test images that are read rightly; PICTURE.pgm: the maps of one image, each head of each block.
Exit code 1 where the share is below the one of README.md. PLUGIN: see parts.py.
"""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
import parts  # noqa: E402

WANTED = 0.95  # README.md
DIGITS = HERE.parent / "train_digits/digits.safetensors"


def make_model(seed: int = 0) -> parts.Transformer:
    model = json.loads((HERE / "model.json").read_text())["model"]
    rng, dim = np.random.default_rng(seed), model["attention"]["dim"]
    embedding = rng.standard_normal(dim).astype(np.float32)
    positions = rng.standard_normal((64, dim)).astype(np.float32) * np.float32(0.2)
    return parts.Transformer(model, {"embedding": embedding, "positions": positions}, seed)


def rolled(x: np.ndarray, n: int, back: bool = False) -> np.ndarray:
    """x (batch, 64, dim) as block n sees it: every second one rolled by half a window."""
    shift = (2 if back else -2) * (n % 2)
    return np.roll(x.reshape(-1, 8, 8, x.shape[-1]), (shift, shift), (1, 2)).reshape(x.shape)


def embed(model: parts.Transformer, images: np.ndarray) -> np.ndarray:
    pixels = images.reshape(len(images), 64, 1)
    return pixels * model.tables["embedding"] + model.tables["positions"]


def logits(model: parts.Transformer, images: np.ndarray) -> np.ndarray:
    x = embed(model, images)
    for n in range(model.blocks):
        x = rolled(model.block(n, rolled(x, n)), n, back=True)
    return model.outputs(x).mean(1)


def accuracy(model: parts.Transformer, images: np.ndarray, labels: np.ndarray) -> float:
    return float((logits(model, images).argmax(-1) == labels).mean())


def write_maps(path: str, model: parts.Transformer, image: np.ndarray) -> None:
    """Two rows a block and two columns a head: the maps (16, 16) of the four windows, each at its place in the image."""
    x, rows = embed(model, image[None]), []
    for n in range(model.blocks):
        seen = rolled(x, n)
        layer, norm = (model.layers[f"blocks.{n}.{name}."] for name in ("attention", "norm_1"))
        maps = layer.attention_map(norm(seen)).reshape(2, 2, -1, 16, 16)
        tiles = np.pad(maps, ((0, 0),) * 3 + ((0, 1),) * 2, constant_values=0.25)
        rows.append(tiles.transpose(0, 3, 2, 1, 4).reshape(34, -1))
        x = rolled(model.block(n, seen), n, back=True)
    grey = np.repeat(np.repeat(np.concatenate(rows), 4, 0), 4, 1)
    dots = np.clip(grey / 0.5 * 255, 0, 255).astype(np.uint8)
    height, width = dots.shape
    pathlib.Path(path).write_bytes(f"P5\n{width} {height}\n255\n".encode() + dots.tobytes())


def main(picture: str | None = None, plugin: str | None = None) -> int:
    parts.load(plugin)
    model, digits = make_model(), parts.read_safetensors(DIGITS)
    model.load(HERE / "model.safetensors")
    share = accuracy(model, digits["test_images"], digits["test_labels"])
    print(f"{100 * share:.2f} % of the test images (README.md: at least {100 * WANTED:.0f} %)")
    if picture:
        write_maps(picture, model, digits["test_images"][0])
    return 0 if share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
