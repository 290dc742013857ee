# SPDX-License-Identifier: Apache-2.0
"""Generates text as decode_with_cache.cpp does: ``python decode_with_cache.py [PROMPT [LENGTH [PLUGIN]]]``.

The most probable character each time, with states and without; tokens per second of both, and the loss on held_out.txt.
Exit code 1 where the logits of the two differ or the loss is not the one of model.json. PLUGIN: see parts.py.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
import parts  # noqa: E402

MODEL = json.loads((HERE / "model.json").read_text())["model"]


def tokens_of(text: str) -> np.ndarray:
    """The end of a line, the printable characters of ASCII, and one token for anything else."""
    codes = np.array([ord(c) for c in text])
    printable = (codes >= 32) & (codes <= 126)
    return np.where(codes == 10, 0, np.where(printable, codes - 31, 96))


def text_of(tokens: list[int]) -> str:
    return "".join("\n" if t == 0 else "?" if t == 96 else chr(t + 31) for t in tokens)


def make_model(seed: int = 0) -> parts.Transformer:
    shape = (MODEL["outputs"], MODEL["attention"]["dim"])
    embedding = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return parts.Transformer(MODEL, {"embedding": embedding}, seed)


def logits(model: parts.Transformer, tokens: np.ndarray, states: list | None = None) -> np.ndarray:
    """tokens (batch, length). With states they follow those of earlier calls."""
    x = model.tables["embedding"][tokens]
    for n in range(model.blocks):
        state = {"state": states[n]} if states else {}
        x = model.block(n, x, use_causal_mask=True, **state)
    return model.outputs(x)


def loss_of(model: parts.Transformer, tokens: np.ndarray, window: int = 256) -> float:
    """In nats a character, over windows that overlap by half, whose first half is read and not counted."""
    total, counted = 0.0, 0
    for begin in range(0, max(1, len(tokens) - window // 2 - 1), window // 2):
        part = tokens[begin : begin + window + 1]
        skip = window // 2 if begin else 0
        z = logits(model, part[None, :-1])[:, skip:]
        total += parts.cross_entropy(z, part[None, 1 + skip :])[0] * z.shape[1]
        counted += z.shape[1]
    return total / counted


def main(prompt: str = "A plugin is ", length: str = "200", plugin: str | None = None) -> int:
    parts.load(plugin)
    model = make_model()
    model.load(HERE / "model.safetensors")
    tokens = list(tokens_of(prompt))
    first, last = len(tokens), len(tokens) + int(length)
    rows = []
    with contextlib.ExitStack() as stack:
        attentions = [model.layers[f"blocks.{n}.attention."] for n in range(model.blocks)]
        states = [stack.enter_context(a.make_state(batch=1, capacity=last)) for a in attentions]
        began, following = time.monotonic(), tokens
        while len(tokens) < last:
            rows.append(logits(model, np.array([following]), states)[0, -1])
            following = [int(rows[-1].argmax())]
            tokens = tokens + following
        with_states = time.monotonic() - began
    began, off = time.monotonic(), 0.0
    for n in range(first, last):
        again = logits(model, np.array([tokens[:n]]))[0, -1]
        off = max(off, np.abs(again - rows[n - first]).max() / np.abs(again).max())
    without = time.monotonic() - began
    loss = loss_of(model, tokens_of((HERE / "held_out.txt").read_text()))
    print(text_of(tokens))
    print(f"\nwith states: {(last - first) / with_states:.0f} tokens per second")
    print(f"without:     {(last - first) / without:.0f} tokens per second")
    print(f"logits differ by {off:.1e} of the largest")
    print(f"loss {loss:.3f} nats a character on held_out.txt (model.json: {MODEL['loss']})")
    return 0 if off <= 1e-4 and abs(loss - MODEL["loss"]) <= 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
