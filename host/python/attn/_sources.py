# SPDX-License-Identifier: Apache-2.0
"""Tensors and settings of live objects and files of other packages, none of which is imported before its object."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._errors import InvalidArgument

MISSING = object()


def opened(source: Any) -> Any:
    """What a file holds; the path of a safetensors file stays one."""
    if not isinstance(source, (str, os.PathLike)):
        return source
    path = os.fspath(source)
    if path.endswith(".safetensors"):
        return path
    if path.endswith(".keras"):
        return importlib.import_module("keras").saving.load_model(path, compile=False)
    if path.endswith((".pt", ".pth", ".bin", ".ckpt")):
        held = importlib.import_module("torch").load(path, map_location="cpu", weights_only=True)
        return held.get("state_dict", held)
    raise InvalidArgument(
        f"{path}: expected a name that ends in .safetensors, .keras, .pt, .pth, .ckpt or .bin"
    )


def name(source: Any) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__


def is_keras(source: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(source, keras.layers.Layer)


def tensors(source: Any) -> Any:
    """Arrays by name; a path stays one."""
    if isinstance(source, str):
        return source
    if is_keras(source):
        floating = [v for v in source.variables if "float" in v.dtype]
        return {v.path: np.asarray(v.numpy()) for v in floating}
    if hasattr(source, "state_dict"):
        source = source.state_dict()
    if not isinstance(source, Mapping):
        raise TypeError(
            f"expected a torch module, a Keras layer, a file or arrays by name, got {name(source)}"
        )
    return {
        n: t.detach() if hasattr(t, "detach") else t
        for n, t in source.items()
        if hasattr(t, "shape")
    }


def module(root: Any, prefix: str) -> Any:
    """The live object that has the tensors of that prefix."""
    if not is_keras(root):
        return root.get_submodule(prefix.rstrip("."))

    def lies_within(layer: Any) -> bool:
        paths = [v.path for v in layer.variables if "float" in v.dtype]
        return bool(paths) and all(path.startswith(prefix) for path in paths)

    within = [layer for layer in root._flatten_layers() if lies_within(layer)]
    return max(reversed(within), key=lambda layer: len(layer.variables))  # of equals the innermost


def setting(module: Any, path: str) -> Any:
    if is_keras(module):
        value = module.get_config().get(path, MISSING)
        return list(value) if isinstance(value, tuple) else value
    for step in path.split("."):
        module = getattr(module, step, MISSING)
    return module


def write(target: Any, arrays: dict[str, Any]) -> None:
    if is_keras(target):
        for variable in target.variables:
            if variable.path in arrays:
                variable.assign(arrays[variable.path])
        return
    torch = sys.modules["torch"]
    own = target.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            own[name].copy_(torch.from_numpy(array))
