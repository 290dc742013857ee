# SPDX-License-Identifier: Apache-2.0
"""Signatures, docstrings and stubs from schemas. Needs neither numpy nor the rest of the package: the build uses it."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any, Literal

_KINDS = {
    "bool": "bool",
    "int": "int",
    "number": "float",
    "text": "str",
    "ints": "list[int]",
    "numbers": "list[float]",
    "int or pair": "int | tuple[int, int]",
    "int, pair or three ints": "int | tuple[int, int] | tuple[int, int, int]",
    "seed": "int",
    "probability": "str",
    "norm": "str",
    "activation": "str",
    "initializer": "str | dict[str, Any]",
    "regularizer": "str | dict[str, Any]",
    "object": "dict[str, Any]",
}


def annotation(parameter: dict[str, Any]) -> str:
    """The type of a parameter, as a stub writes it."""
    kind = parameter["kind"].removesuffix(" or null")
    text = _KINDS[kind]
    if kind == "text" and parameter["choices"]:
        text = f"Literal[{', '.join(map(repr, parameter['choices']))}]"
    return text + " | None" if parameter["nullable"] else text


def _real(text: str) -> Any:
    """The type that an annotation means, so that help() shows it without quotes."""
    return eval(text, {"Any": Any, "Literal": Literal})  # texts of this file and of loaded plugins


def default(parameter: dict[str, Any]) -> Any:
    value = parameter["default"]
    return tuple(value) if isinstance(value, list) else value


def signature(schema: dict[str, Any]) -> inspect.Signature:
    """Parameters in the order of the schema, required ones without default; then the layer's name."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            p["name"],
            kind,
            default=inspect.Parameter.empty if p["required"] else default(p),
            annotation=_real(annotation(p)),
        )
        for p in schema["parameters"]
    ]
    name = inspect.Parameter(
        "name", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_real("str | None")
    )
    return inspect.Signature([*parameters, name])


def _entry(name: str, text: str) -> str:
    return textwrap.fill(f"{name}: {text}", 96, initial_indent="    ", subsequent_indent="        ")


def _choices(parameter: dict[str, Any]) -> str:
    words = [parameter["doc"]] if parameter["doc"] else []
    if parameter["range"]:
        words.append(parameter["range"])
    if not parameter["required"]:
        words.append(f"default {default(parameter)!r}")
    return "; ".join(words)


def docstring(schema: dict[str, Any]) -> str:
    """Summary, description, then the sections in the order in which Keras has them."""
    lines = [schema["description"], "", schema["use_case"], f"Cost: {schema['complexity']}.", ""]
    lines.append("Arguments:")
    lines += [_entry(f"{p['name']} ({annotation(p)})", _choices(p)) for p in schema["parameters"]]
    lines.append(_entry("name (str | None)", "of the layer, without '/'; default None: made from the class name"))  # fmt: skip
    lines += ["    " + re.sub(r" \({\w+}\)", "", rule) for rule in schema["rules"]]
    lines += ["", "Input shape:", f"    {schema['input_shape']}"]
    lines += ["", "Output shape:"]
    for output in schema["outputs"]:
        when = f" (with {output['argument']}=True)" if output["argument"] else ""
        lines.append(_entry(output["name"] + when, output["shape"]))
    lines += ["", "Call arguments:"]
    for given in schema["inputs"]:
        shapes = " or ".join(given["shapes"])
        words = [w for w in (shapes, "optional" if given["optional"] else "", given["doc"]) if w]
        if given["aliases"]:
            words.append("also called " + ", ".join(given["aliases"]))
        lines.append(_entry(given["name"], "; ".join(words)))
    lines += [_entry(f"{a['name']} ({annotation(a)})", _choices(a)) for a in schema["arguments"]]
    lines.append(
        _entry("training (bool)", "whether dropout and statistics are at work; default False")
    )
    lines += ["", "Example:", f"    layer = {example(schema)}", "    y = layer(x)"]
    lines += ["", "References:", f"    {schema['paper']}"]
    return "\n".join(lines)


_SIZES = {
    "dim": 64,
    "channels": 64,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,
    "key_dim": 16,
}


def example(schema: dict[str, Any]) -> str:
    """A call of the class with numbers for the required parameters."""
    required = [p["name"] for p in schema["parameters"] if p["required"]]
    given = ", ".join(f"{name}={_SIZES.get(name, 8)}" for name in required)
    package = "attn" if "." not in schema["type"] else f"attn.types[{schema['type']!r}]"
    call = f"{package}.{schema['class']}" if package == "attn" else package
    return f"{call}({given})"


def stub(schema: dict[str, Any]) -> str:
    """The class of a type in a .pyi file."""
    parameters = "".join(
        f"        {p['name']}: {annotation(p)}"
        + ("" if p["required"] else f" = {default(p)!r}")
        + ",\n"
        for p in schema["parameters"]
    )
    text = docstring(schema).replace("\\", "\\\\").replace('"""', "'''")
    doc = textwrap.indent(text, "    ").strip()
    return (
        f'class {schema["class"]}(Layer):\n    """{doc}\n    """\n\n'
        f"    def __init__(\n        self,\n{parameters}        *,\n        name: str | None = None,\n"
        "    ) -> None: ...\n"
    )
