#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes feature_gate.safetensors: the type once more, from its formula, with loops. golden/make.py [DIRECTORY]"""
import math
import pathlib
import sys

import case

B, HEIGHT, WIDTH, CHANNELS, RATIO = 2, 3, 2, 8, 2
UNITS = CHANNELS // RATIO


def dense(x, kernel, bias):
    return [sum(a * b for a, b in zip(x, column)) + shift for column, shift in zip(zip(*kernel), bias)]


def forward(inputs, weights):
    output = []
    for image in inputs["inputs"]:
        pixels = [pixel for row in image for pixel in row]
        means = [sum(channel) / len(pixels) for channel in zip(*pixels)]
        hidden = [max(0.0, z) for z in dense(means, weights["squeeze/kernel"], weights["squeeze/bias"])]
        gates = [1 / (1 + math.exp(-z)) for z in dense(hidden, weights["excite/kernel"], weights["excite/bias"])]
        output.append([[[x * g for x, g in zip(pixel, gates)] for pixel in row] for row in image])
    return {"output": output}


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
case.save(folder / "feature_gate.safetensors", "example.feature_gate", {"channels": CHANNELS, "ratio": RATIO},
          {"inputs": case.numbers(1, B, HEIGHT, WIDTH, CHANNELS)},
          {"squeeze/kernel": case.numbers(2, CHANNELS, UNITS), "squeeze/bias": case.numbers(3, UNITS),
           "excite/kernel": case.numbers(4, UNITS, CHANNELS), "excite/bias": case.numbers(5, CHANNELS)},
          forward)
