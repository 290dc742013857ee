# SPDX-License-Identifier: Apache-2.0
"""Writes a golden case: what an implementation of its own gives, for `attn verify` and `attn check`.

Tensors are nested lists of floats, masks nested lists of bools. Gradients are central differences. Needs nothing but
Python 3.
"""
import json
import random
import struct

STEP = 1e-4  # of the differences; their error is about its square


def numbers(seed, *shape):
    """Numbers in [-1, 1] that float32 holds exactly, always the same for a seed."""
    draw = random.Random(seed)
    one = lambda rest: [one(rest[1:]) for _ in range(rest[0])] if rest else draw.randint(-256, 256) / 256
    return one(shape)


def leaves(x):
    """Each number of a tensor as (list, index), in row-major order."""
    for i, part in enumerate(x):
        if isinstance(part, list):
            yield from leaves(part)
        else:
            yield x, i


def shape(x):
    return [len(x)] + shape(x[0]) if isinstance(x, list) else []


def flat(x):
    return [row[i] for row, i in leaves(x)]


def save(path, type, config, inputs, weights, forward, call=None, chunks=None):
    """forward(inputs, weights) gives a dict of outputs. chunks: also run piece by piece with a state."""
    outputs = forward(inputs, weights)
    cotangents = {name: numbers(name, *shape(y)) for name, y in outputs.items()}

    def loss():
        now = forward(inputs, weights)
        return sum(a * b for name in now for a, b in zip(flat(now[name]), flat(cotangents[name])))

    def moved(row, i, value):
        before, row[i] = row[i], value
        result = loss()
        row[i] = before
        return result

    tensors = {}
    for kind, group in ("input", inputs), ("weight", weights), ("output", outputs), ("cotangent", cotangents):
        tensors.update((f"{kind}/{name}", (shape(x), flat(x))) for name, x in group.items())
    for kind, group in ("grad_input", inputs), ("grad_weight", weights):
        for name, x in group.items():
            if isinstance(flat(x)[0], float):
                tensors[f"{kind}/{name}"] = (shape(x), [
                    (moved(row, i, row[i] + STEP) - moved(row, i, row[i] - STEP)) / (2 * STEP)
                    for row, i in leaves(x)])

    header, data = {}, b""
    header["__metadata__"] = {
        "format": "attn-golden-1", "type": type, "case": path.stem, "config": json.dumps(config),
        "call": json.dumps(call or {}), "inputs": json.dumps(list(inputs)), "outputs": json.dumps(list(outputs)),
        "reference": "golden/make.py", **({"decode": json.dumps({"chunks": chunks})} if chunks else {})}
    # Numbers first: they are aligned.
    for name, (extents, values) in sorted(tensors.items(), key=lambda t: isinstance(t[1][1][0], bool)):
        mask = isinstance(values[0], bool)
        begin = len(data)
        data += struct.pack(f"<{len(values)}{'?' if mask else 'f'}", *values)
        header[name] = {"dtype": "BOOL" if mask else "F32", "shape": extents, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(f"{path}: {len(tensors)} tensors")
