# SPDX-License-Identifier: Apache-2.0
"""Golden cases (tests/goldens/README.md): files, and the comparison that the C++ runner makes."""

from __future__ import annotations

import json
import pathlib
import struct

import numpy as np

GOLDENS = pathlib.Path(__file__).resolve().parents[1] / "goldens"
_DTYPES = {
    "F32": "<f4",
    "F64": "<f8",
    "BOOL": "?",
    "I32": "<i4",
    "I64": "<i8",
    "U32": "<u4",
    "U8": "u1",
}


class Golden:
    """One safetensors file: metadata and tensors by name."""

    def __init__(self, path: pathlib.Path) -> None:
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        self.metadata = header.pop("__metadata__")
        self.tensors = {}
        for name, entry in header.items():
            begin, end = (8 + size + n for n in entry["data_offsets"])
            array = np.frombuffer(data[begin:end], dtype=_DTYPES[entry["dtype"]])
            self.tensors[name] = array.reshape(entry["shape"])
        self.type, self.case = self.metadata["type"], self.metadata["case"]
        self.config, self.call = json.loads(self.metadata["config"]), json.loads(
            self.metadata["call"]
        )
        self.inputs, self.outputs = (json.loads(self.metadata[k]) for k in ("inputs", "outputs"))
        own = json.loads(self.metadata.get("tolerance", "{}"))
        self.output_tolerance, self.gradient_tolerance = own.get("output", 1e-5), own.get(
            "grad", 5e-4
        )
        self.chunks = json.loads(self.metadata.get("decode", '{"chunks": []}'))["chunks"]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Tensors "prefix/...", by the rest of their names."""
        start = prefix + "/"
        return {n[len(start) :]: a for n, a in self.tensors.items() if n.startswith(start)}


def all_cases() -> list[pathlib.Path]:
    """Files of layers; single activation functions are no layers that users can name, models and programs have forms of theirs."""
    others = ("activation", "decoders", "score")
    return [p for p in sorted(GOLDENS.glob("*/*.safetensors")) if p.parent.name not in others]


def assert_close(
    name: str, got, expected: np.ndarray, tolerance: float, least: float = 0.0
) -> None:
    """max |got - expected| / max(max |expected|, least) <= tolerance; a scalar () equals a (1)."""
    got = np.asarray(got, dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    assert got.shape == expected.shape or got.size == expected.size == 1, (
        name,
        got.shape,
        expected.shape,
    )
    difference = np.abs(got.reshape(expected.shape) - expected)
    same = (got.reshape(expected.shape) == expected) | (
        np.isnan(got.reshape(expected.shape)) & np.isnan(expected)
    )
    worst = np.max(np.where(same, 0.0, difference), initial=0.0)
    if worst == 0.0:
        return
    scale = max(np.max(np.abs(expected), initial=0.0), least)
    assert scale > 0 and worst / scale <= tolerance, f"{name}: {worst / scale} > {tolerance}"
