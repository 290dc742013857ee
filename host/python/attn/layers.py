# SPDX-License-Identifier: Apache-2.0
"""One class for each type, made from the schema that its plugin registers.

``attn.types[name]`` is the class of a type by the type's name; those that come with the library are also
``attn.MultiHeadAttention`` and the like. Types of other plugins: ``attn.types["mylab.sink_window"]``. Plugins are looked for when the first class is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from . import _attn, _docs
from ._errors import nearest
from .layer import Layer


class Types(Mapping[str, "type[Layer]"]):
    """Classes by the names of their types."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Layer]] = {}
        self._schemas: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> type[Layer]:
        if name not in self._classes:
            if name not in _attn.types():
                raise KeyError(f"unknown attention type {name!r}{nearest(name, self)}")
            # Of several threads the first one's class is everybody's.
            self._classes.setdefault(name, _make(self._schema(name)))
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_attn.types())

    def __len__(self) -> int:
        return len(_attn.types())

    def __repr__(self) -> str:
        return f"<attention types {', '.join(self)}>"

    def schema(self, name: str) -> dict[str, Any]:
        """Everything that the plugin says about the type; "defaults" has those of the parameters. A copy."""
        return copy.deepcopy(self._schema(name))

    def _schema(self, name: str) -> dict[str, Any]:
        if name not in self._schemas:
            schema = _attn.schema(name)
            schema["defaults"] = {
                p["name"]: p["default"] for p in schema["parameters"] if not p["required"]
            }
            self._schemas[name] = schema
        return self._schemas[name]

    def forget_replaced(self) -> None:
        """After a rescan: types whose plugin says something else now get a new class; layers keep theirs."""
        old, self._schemas = self._schemas, {}
        for name, schema in old.items():
            if name not in _attn.types() or self._schema(name) != schema:
                self._classes.pop(name, None)

    def by_class_name(self, name: str) -> type[Layer] | None:
        """The class of that name, among the types that come with the library."""
        for attention_type in _attn.types():
            if "." not in attention_type and self._schema(attention_type)["class"] == name:
                return self[attention_type]
        return None


types = Types()


def _make(schema: dict[str, Any]) -> type[Layer]:
    members = {
        "attention_type": schema["type"],
        "parameters": tuple(p["name"] for p in schema["parameters"]),
        "__doc__": _docs.docstring(schema),
        "__signature__": _docs.signature(schema),
        "__module__": __name__,
    }
    return type(schema["class"], (Layer,), members)


def __getattr__(name: str) -> Any:
    if name == "AttentionType":
        return Literal.__getitem__(tuple(_attn.types()))
    if name == "__all__":
        own = [t for t in _attn.types() if "." not in t]
        return ["AttentionType", "types", *(types._schema(t)["class"] for t in own)]
    if name[:1] != "_":
        found = types.by_class_name(name)
        if found is not None:
            return found
    # Names that are no classes must not make plugins load.
    near = nearest(name, __dir__()) if name[:1].isupper() else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{near}")


def __dir__() -> list[str]:
    return sorted([*__getattr__("__all__"), "Types"])
