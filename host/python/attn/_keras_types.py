# SPDX-License-Identifier: Apache-2.0
"""Keras layers of the types that this package has too: same class names, parameters and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _attn
from ._errors import InvalidArgument
from .layer import Layer, from_core

_DERIVED = ("cos_cached", "sin_cached", "seed_generator_state")  # tables and seeds, no weights


def layers_within(root: Any) -> list[tuple[Any, str]]:
    """Each such layer, with its type; not those that another one consists of."""
    classes = {entry["class"]: name for name, entry in _attn.info().items()}
    own = not type(root).__module__.startswith("keras.")  # Keras has classes of the same names
    if own and type(root).__name__ in classes:
        return [(root, classes[type(root).__name__])]
    children = root._flatten_layers(include_self=False, recursive=False)
    return [found for child in children for found in layers_within(child)]


def convert(layer: Any, attention_type: str) -> Layer:
    """The layer here, with the weights of the Keras layer."""
    if not layer.built:
        raise InvalidArgument(
            f"{layer.name}: the Keras layer has no weights yet; call it once, or build it"
        )
    config = {
        k: _checked(k, v) for k, v in layer.get_config().items() if k not in ("trainable", "dtype")
    }
    name = config.pop("name")
    made = from_core(_attn.create(attention_type, config, name, False), attention_type)
    made.build(*_shapes(layer), dtype=_dtype(layer), seed=0)
    made.weights.update({n: np.asarray(v.numpy()) for n, v in _by_name(layer, made).items()})
    return made


def write(layer: Layer, target: Any, attention_type: str) -> None:
    """The weights of a layer here into a Keras layer."""
    if layer.type != attention_type:
        raise InvalidArgument(
            f"{target.name} is of type {attention_type!r}, the layer of {layer.type!r}"
        )
    same = convert(target, attention_type)
    same_function(layer, same, target.name)
    variables = _by_name(target, same)
    for name, variable in variables.items():
        if tuple(variable.shape) != layer.weights[name].shape:
            raise InvalidArgument(f"{target.name}: '{name}' is {tuple(variable.shape)}, the layer's is "
                                  f"{layer.weights[name].shape}")  # fmt: skip
    for name, variable in variables.items():
        variable.assign(layer.weights[name])


def same_function(a: Layer, b: Layer, name: str) -> None:
    """Refuses layers whose results differ although their weights are the same."""
    ours, theirs = a.get_config(), b.get_config()
    for key, value in ours.items():
        inert = ("name", "dropout_rate", "use_bias")  # a bias of zeros is none
        if key in inert or key.endswith(("_initializer", "_regularizer", "_dim")):
            continue
        if value != theirs[key]:
            raise InvalidArgument(
                f"{name}: its {key} is {theirs[key]!r}, the layer's is {value!r}", parameter=key
            )


def _checked(key: str, value: Any) -> Any:
    if not isinstance(value, dict) or "rms_scaling" not in value:
        return value
    if value["rms_scaling"]:
        raise InvalidArgument(
            f"{key}: 'rms_scaling' of Keras divides by the standard deviation without taking the mean away; "
            "no norm here does",
            parameter=key,
        )
    return {k: v for k, v in value.items() if k != "rms_scaling"}


def _shapes(layer: Any) -> list[Any]:
    config = layer.get_build_config() or {}
    given = config.get("input_shape") or list(config.get("shapes_dict", {}).values())
    if isinstance(given, dict):
        given = list(given.values())
    several = bool(given) and isinstance(given[0], (list, tuple))
    return [list(s) for s in given if s is not None] if several else [list(given)]


def _dtype(layer: Any) -> str:
    return "float64" if layer.variable_dtype == "float64" else "float32"


def _by_name(layer: Any, made: Layer) -> dict[str, Any]:
    """The variables of the Keras layer by the names of the weights here."""
    wanted = set(made.weights)
    variables = [v for v in layer.variables if v.path.rpartition("/")[2] not in _DERIVED]
    depths = range(1 + min((v.path.count("/") for v in variables), default=0))
    found = [{"/".join(v.path.split("/")[d:]): v for v in variables} for d in depths]
    for names in found:
        if set(names) == wanted:
            return names
    nearest = set(max(found, key=lambda names: len(wanted & set(names))))
    raise InvalidArgument(
        f"{layer.name}: its weights are not those of type {made.type!r}: it lacks {sorted(wanted - nearest)} "
        f"and has {sorted(nearest - wanted)} besides"
    )
