# SPDX-License-Identifier: Apache-2.0
"""Attention of torch, timm, Hugging Face and Keras as layers with the same function, and back.

What goes where is said by tables of the library (host/docs/convert.md); this file decides which
module is meant and whether it is what its tensors look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _attn, _keras_types, _sources
from ._errors import InvalidArgument
from .layer import Layer, from_core


class Convert:
    """``attn.convert(source)`` makes a layer; ``attn.convert.to(layer, target)`` goes back;
    ``attn.convert.find(source)`` lists the modules that can be converted."""

    def __call__(
        self,
        source: Any,
        type: str | None = None,
        *,
        form: str = "",
        prefix: str = "",
        **variables: Any,
    ) -> Layer:
        """A built layer that computes what the source does.

        source: a torch module (torch, timm, Hugging Face), a Keras layer or model, arrays by name, or the path of a
            .safetensors, .keras or torch file.
        type: the attention type; else the first that fits.
        form, prefix: which module is meant where there are several, see ``find``.
        variables: what tensors and files do not say: num_heads, epsilon of norms, dropout_rate.
        """
        root = _sources.opened(source)
        same = _of_same_types(root, form, prefix)
        if same:
            layer, own = same
            if type not in (None, own):
                raise InvalidArgument(
                    f"{_sources.name(source)}: a layer of type {own!r} stays one; got type {type!r}"
                )
            return _keras_types.convert(layer, own)
        tensors = _sources.tensors(root)
        if not isinstance(root, (str, Mapping)):
            form, prefix, module = _live(root, tensors, form, prefix)
            table = _attn.attention_forms()[form]
            told = _told(module, table)
            for key in told.keys() & variables.keys():
                if told[key] != variables[key]:
                    raise InvalidArgument(
                        f"{_sources.name(module)}: its {key} is {told[key]!r}, not {variables[key]!r}",
                        parameter=key,
                    )
            variables = {**told, **variables}
            for path, other in table.get("type_where", {}).items():
                type = type or (other if _sources.setting(module, path) is True else None)
        core, made = _attn.convert(
            tensors, _sources.name(source), form, type or "", prefix, variables
        )
        return from_core(core, made)

    def find(self, source: Any) -> list[tuple[str, str]]:
        """Every module that can be converted: (form, prefix)."""
        root = _sources.opened(source)
        same = (
            [(own, x.path) for x, own in _keras_types.layers_within(root)]
            if _sources.is_keras(root)
            else []
        )
        return same + _attn.find_attention(_sources.tensors(root), _sources.name(source))

    def to(self, layer: Layer, target: Any, *, form: str = "", prefix: str = "") -> Any:
        """Writes the weights of a layer into a live module, all or none, and returns the target.

        With the name of a form as target it returns the tensors of such a module, by name.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"expected a layer of this package, got {_sources.name(layer)}")
        if isinstance(target, str):
            return _attn.convert_back(layer, target, None)
        same = _of_same_types(target, form, prefix)
        if same:
            _keras_types.write(layer, *same)
            return target
        tensors = _sources.tensors(target)
        form, prefix, module = _live(target, tensors, form, prefix)
        shapes = {
            n[len(prefix) :]: list(t.shape) for n, t in tensors.items() if n.startswith(prefix)
        }
        arrays = {prefix + n: a for n, a in _attn.convert_back(layer, form, shapes).items()}
        # With them the module computes what the layer does, or nothing is written.
        told = _told(module, _attn.attention_forms()[form])
        core, made = _attn.convert(
            {**tensors, **arrays}, _sources.name(target), form, layer.type, prefix, told
        )
        _keras_types.same_function(layer, from_core(core, made), _sources.name(target))
        _sources.write(target, arrays)
        return target


convert = Convert()


def _within(prefix: str, place: str) -> bool:
    start = place.rstrip("./")
    return (
        not start or prefix.rstrip("./") == start or prefix.startswith((start + ".", start + "/"))
    )


def _of_same_types(root: Any, form: str, prefix: str) -> tuple[Any, str] | None:
    """The Keras layer of a type of this package that is meant, if one is."""
    every = _keras_types.layers_within(root) if _sources.is_keras(root) and not form else []
    meant = [(x, own) for x, own in every if _within(x.path, prefix) or x.name == prefix]
    if len(meant) > 1:
        raise InvalidArgument(
            f"{_sources.name(root)}: there are several: {[x.path for x, own in meant]}; choose one by prefix"
        )
    return meant[0] if meant else None


def _live(root: Any, tensors: Any, form: str, prefix: str) -> tuple[str, str, Any]:
    """Form and prefix of the module that is meant, and the module."""
    every = _attn.find_attention(tensors, _sources.name(root))
    meant = [(f, p) for f, p in every if form in ("", f) and _within(p, prefix)]
    if len({p for f, p in meant}) != 1:
        _attn.convert(
            tensors, _sources.name(root), form, "", prefix, {}
        )  # the library says why not
    place = meant[0][1]
    module, tables = _sources.module(root, place), _attn.attention_forms()
    unlike = {f: _unlike(module, tables[f]) for f, p in meant}
    fits = [f for f in unlike if form or not unlike[f]]
    if not fits:
        first = meant[0][0]
        raise InvalidArgument(
            f"{_sources.name(module)}: {unlike[first]}; its tensors have the names of {tables[first]['title']}, but it may "
            f"compute something else; form={first!r} converts it all the same"
        )
    return fits[0], place, module


def _unlike(module: Any, table: dict[str, Any]) -> str:
    """Why the module's classes are not those of the form."""
    if type(module).__name__ not in table["classes"]:
        return f"expected a class of {table['classes']}"
    for path, classes in table.get("part_classes", {}).items():
        part = _sources.setting(module, path)
        if part is not _sources.MISSING and type(part).__name__ not in classes:
            return f"{path} is of class {type(part).__name__}, expected one of {classes}"
    return ""


def _told(module: Any, table: dict[str, Any]) -> dict[str, Any]:
    """The variables that attributes tell. What they must not be is refused."""
    for path, (values, reason) in table.get("must", {}).items():
        value = _sources.setting(module, path)
        if value is not _sources.MISSING and value not in values:
            raise InvalidArgument(
                f"{_sources.name(module)}: {path} is {value!r}: {reason}", parameter=path
            )
    told = {}
    for variable, paths in table.get("attributes", {}).items():
        found = [
            v
            for v in (_sources.setting(module, path) for path in paths)
            if v not in (_sources.MISSING, None)
        ]
        if any(v != found[0] for v in found):
            raise InvalidArgument(
                f"{_sources.name(module)}: {paths} are {found}; a type here has one for both"
            )
        if found:
            told[variable] = found[0]
    return told
