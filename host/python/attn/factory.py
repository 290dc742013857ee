# SPDX-License-Identifier: Apache-2.0
"""Layers by the name of their type: the functions that Keras users know, with the same texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from . import _attn
from .layer import Layer, from_core

if TYPE_CHECKING:
    from .layers import AttentionType


class Claim(TypedDict):
    """What a type declares to be true of it: ``claim`` is a word such as "causal", ``text`` the whole in words."""

    claim: str
    subject: str
    condition: str
    relation: str
    degree: float | None
    text: str


def create_attention_layer(
    type: AttentionType | str,
    name: str | None = None,
    *,
    require: Iterable[str] = (),
    **kwargs: Any,
) -> Layer:
    """A layer of that type. Writes one INFO or ERROR line to logging.getLogger("attn").

    Args:
        require: claims, such as ``["causal"]``, that the type must make for this configuration.

    Raises:
        InvalidArgument: a ValueError, with the first rule that is broken.
    """
    core = _attn.create(_text(type), kwargs, name, True, _claims(require))
    return from_core(core, _text(type))


def create_attention_from_config(
    config: Mapping[str, Any], *, require: Iterable[str] = ()
) -> Layer:
    """A layer from a dictionary with ``type``, perhaps ``name``, and the parameters.

    ``"$require": ["causal"]`` in it is the same as the argument; ``$schema`` is ignored.
    """
    plain = dict(config) if isinstance(config, Mapping) else repr(config)
    core = _attn.create_from_config(plain, _claims(require))
    return from_core(core, config["type"])


def validate_attention_config(type: AttentionType | str, **kwargs: Any) -> None:
    """The checks of create_attention_layer alone."""
    _attn.validate(_text(type), kwargs)


def get_attention_info() -> dict[str, dict[str, Any]]:
    """What each type is, needs and takes; a copy."""
    return _attn.info()


def get_attention_requirements(type: AttentionType | str) -> dict[str, Any]:
    """The entry of one type."""
    return _attn.requirements(_text(type))


def get_attention_claims(type: AttentionType | str) -> list[Claim]:
    """What the type declares to be true of it; ``attn check`` tries it."""
    claims: list[Claim] = _attn.schema(_text(type))["claims"]
    return claims


def schema(type: AttentionType | str = "") -> dict[str, Any]:
    """JSON Schema 2020-12 of configurations: of one type, or of all that are loaded.

    For editors and for checks without this package; ``attn schema`` writes the same.
    """
    return _attn.config_schema(_text(type))


def list_attention_types() -> list[str]:
    """Names of all types, ascending."""
    return _attn.types()


def load(path: str | os.PathLike[str]) -> Layer:
    """A layer as ``layer.save`` wrote it."""
    core, attention_type = _attn.load(os.fspath(path))
    return from_core(core, attention_type)


def load_config(path: str | os.PathLike[str], section: str = "") -> Any:
    """A configuration from a JSON file; errors say line and column."""
    return _attn.load_config(os.fspath(path), section)


def _claims(require: Iterable[str]) -> list[str]:
    return [require] if isinstance(require, str) else list(require)


def _text(type: Any) -> str:
    return type if isinstance(type, str) else str(type)
