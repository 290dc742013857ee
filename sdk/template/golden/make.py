#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes sliding_sink.safetensors: the type once more, from its formula, with loops. golden/make.py [DIRECTORY]"""
import math
import pathlib
import sys

import case

B, N, DIM, HEADS, WINDOW = 2, 6, 8, 2, 3
HEAD = DIM // HEADS


def rows(x, w):
    return [[[sum(a * b for a, b in zip(row, column)) for column in zip(*w)] for row in part] for part in x]


def forward(inputs, weights):
    x, mask, sinks = inputs["inputs"], inputs["attention_mask"], weights["sinks"]
    qkv = rows(x, weights["qkv/kernel"])
    merged = [[[0.0] * DIM for _ in range(N)] for _ in range(B)]
    for b in range(B):
        for h in range(HEADS):
            part = lambda n, i: qkv[b][i][n * DIM + h * HEAD:n * DIM + (h + 1) * HEAD]
            for i in range(N):
                keys = [j for j in range(max(0, i - WINDOW + 1), i + 1) if mask[b][j]]
                score = {j: sum(a * c for a, c in zip(part(0, i), part(1, j))) / math.sqrt(HEAD) for j in keys}
                total = math.exp(sinks[h]) + sum(math.exp(score[j]) for j in keys)
                for d in range(HEAD):
                    merged[b][i][h * HEAD + d] = sum(math.exp(score[j]) * part(2, j)[d] for j in keys) / total
    return {"output": rows(merged, weights["proj/kernel"])}


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
case.save(folder / "sliding_sink.safetensors", "example.sliding_sink", {"dim": DIM, "num_heads": HEADS, "window": WINDOW},
          # The second sequence ends early; its last position sees one key that counts.
          {"inputs": case.numbers(1, B, N, DIM), "attention_mask": [[True] * N, [True] * (N - 2) + [False] * 2]},
          {"qkv/kernel": case.numbers(2, DIM, 3 * DIM), "sinks": case.numbers(3, HEADS),
           "proj/kernel": case.numbers(4, DIM, DIM)},
          forward, chunks=[3, 1, 2])
