# SPDX-License-Identifier: Apache-2.0
"""The layer: what all types have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _attn
from ._errors import InvalidArgument, nearest
from ._maps import select, span
from .weights import WeightInfo as WeightInfo
from .weights import Weights as Weights

State = _attn.State
Tape = _attn.Tape

# An extent is None (or -1) where it is not known.
Shape = Sequence["int | None"]


class Gradients(NamedTuple):
    inputs: dict[str, Any]
    weights: dict[str, Any]


class OperatorTime(NamedTuple):
    name: str
    label: str
    shape: tuple[int, ...]  # of its first output
    seconds: float
    flops: float
    bytes: float


class Layer(_attn.LayerBase):
    """An attention layer. ``layer(x)`` calls it; the first call builds it for the widths of its inputs.

    Layers come from ``attn.create_attention_layer(type, ...)``, from the class of a type such as
    ``attn.MultiHeadAttention(dim=64)``, or from ``attn.load(file)``.
    """

    attention_type: ClassVar[str] = ""
    parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, name: str | None = None, **parameters: Any) -> None:
        if not self.attention_type:
            raise TypeError("attn.Layer is no type; use attn.create_attention_layer(type, ...)")
        if len(args) > len(self.parameters):
            raise TypeError(
                f"{type(self).__name__} takes {len(self.parameters)} parameters, got {len(args)}; "
                f"expected at most {list(self.parameters)}"
            )
        given = dict(zip(self.parameters, args))
        for twice in given.keys() & parameters.keys():
            raise TypeError(f"{type(self).__name__} got parameter '{twice}' twice")
        core = _attn.create(self.attention_type, {**given, **parameters}, name, False)
        super().__init__(core)

    # ---- calls ----------------------------------------------------------------------------------

    def forward(self, *inputs: Any, record: bool = False, **options: Any) -> Any:
        """As calling the layer; with record=True ``(outputs, tape)`` for one ``backward``."""
        return self._record(*inputs, **options) if record else self(*inputs, **options)

    def backward(
        self, tape: Tape, *gradients: Any, penalties: bool = False, **by_output: Any
    ) -> Gradients:
        """Gradients of sum(output * gradient): of the inputs by name, of the weights by path.

        penalties: also the gradient of the regularizers.
        """
        return Gradients(*self._backward(tape, *gradients, penalties=penalties, **by_output))

    def output_shapes(self, *inputs: Any, **options: Any) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs, without computing them; inputs are arrays or shapes."""
        return self._output_shapes(*map(_stand_in, inputs), **options)

    def attention_maps(
        self,
        *inputs: Any,
        heads: Any = None,
        queries: Any = None,
        keys: Any = None,
        **options: Any,
    ) -> dict[str, npt.NDArray[Any]]:
        """Every attention map of a call, (batch, heads, queries, keys), by the label that the type gives it.

        heads, queries, keys: an index, a slice or a list of indices. Maps of the heads and queries between the
        first and the last of them are computed, and no other.
        """
        part = (*span(heads), *span(queries))
        maps: dict[str, npt.NDArray[Any]] = {}
        for label, array, is_part in self._maps(part, *inputs, **options):
            begins = (part[0], part[2]) if is_part else (0, 0)
            array = select(array, -3, heads, begins[0])
            array = select(array, -2, queries, begins[1])
            name, n = label, 1
            while name in maps:
                n, name = n + 1, f"{label}_{n + 1}"
            maps[name] = select(array, -1, keys, 0)
        return maps

    def attention_map(
        self,
        *inputs: Any,
        heads: Any = None,
        queries: Any = None,
        keys: Any = None,
        label: str | None = None,
        **options: Any,
    ) -> npt.NDArray[Any]:
        """The attention map of a call, as attention_maps; label: which one, where there are several."""
        maps = self.attention_maps(*inputs, heads=heads, queries=queries, keys=keys, **options)
        if label is None and len(maps) == 1:
            label = next(iter(maps))
        if label not in maps:
            raise InvalidArgument(
                f"{self.name}: expected label to be one of {list(maps)}, got {label!r}"
                + nearest(str(label), maps)
                if maps
                else f"{self.name}: type '{self.type}' has no attention map"
            )
        return maps[label]

    def observe(
        self,
        *inputs: Any,
        names: str | Sequence[str] = "all",
        top: int = 8,
        heads: Any = None,
        queries: Any = None,
        keys: Any = None,
        **options: Any,
    ) -> dict[str, npt.NDArray[Any]]:
        """What a call tells of itself beside its outputs, in memory that is linear in its length.

        names: of observables, or "all", which is everything but "map". Of attention these are row_max, lse, entropy,
        column_mass, distances, top_keys, top_weights and map; types have others of their own. The result has each as
        "label.name", label being that of the attention in the call, or as "name".
        top: keys of each query in top_keys and top_weights. heads, queries, keys: of "map", an index, a slice or a list
        of indices; what lies between the first and the last is computed and no other.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        part = (*span(heads), *span(queries), *span(keys))
        observed: dict[str, npt.NDArray[Any]] = {}
        for label, name, array in self._observed(wanted, top, part, *inputs, **options):
            if name == "map":
                array = select(array, -3, heads, part[0])
                array = select(array, -2, queries, part[2])
                array = select(array, -1, keys, part[4])
            observed[f"{label}.{name}" if label else name] = array
        return observed

    def profile(self, *inputs: Any, **options: Any) -> list[OperatorTime]:
        """Runs a call and tells where its time went: one entry for each operator."""
        return [OperatorTime(*row) for row in self._profile(*inputs, **options)]

    # ---- building, weights, files ---------------------------------------------------------------

    def build(
        self,
        *shapes: Shape | None,
        dtype: npt.DTypeLike = np.float32,
        seed: int | None = None,
        weights_dtype: str = "float32",
    ) -> None:
        """Makes the weights for inputs of these shapes, in the order of the type's inputs.

        weights_dtype: how products read them: float32, bfloat16, float16 or int8. What is no
        float32 takes a half or a quarter of the bytes, beside the float32 weights, and has no
        gradient.
        """
        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise TypeError(f"{self.name}: a layer computes in float32 or float64, not {kind}")
        plain = [self._extents(s) for s in shapes]
        self._build(plain, kind == np.float64, seed, weights_dtype)

    def _extents(self, shape: Shape | None) -> list[int] | None:
        try:
            return None if shape is None else [-1 if n is None else index(n) for n in shape]
        except TypeError:
            raise TypeError(
                f"{self.name}: {shape!r} is no shape of an input; expected one sequence of extents for each input, "
                "None where not known; write build((1, 16, 64))"
            ) from None

    @property
    def weights(self) -> Weights:
        """The weights of a built layer, by path."""
        return Weights(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes config, weights and input widths to a safetensors file, for ``attn.load``."""
        self._save(os.fspath(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Weights of a built layer from a file: every one must be there, and nothing else."""
        self._load(os.fspath(path))

    # ---- configuration --------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Every parameter with its value, and the name."""
        return self._config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """A new layer from what get_config() gave."""
        if cls.attention_type:
            return cls(**config)
        from .factory import create_attention_from_config

        return create_attention_from_config(config)

    def __reduce__(self) -> tuple[object, ...]:
        built = None
        if self.built:
            built = (self.built_for, self.dtype, {k: np.array(v) for k, v in self.weights.items()})
        from .layers import types

        # The types' own classes are made anew where the copy is read; those of users are named.
        cls = None if type(self) is types[self.type] else type(self)
        return (_restore, (self.type, self.get_config(), built, cls), self.__dict__ or None)

    def __repr__(self) -> str:
        from .layers import types

        config = self.get_config()
        name = config.pop("name")
        defaults = types.schema(self.type)["defaults"]
        short = {k: _short(v) for k, v in config.items()}
        shown = [f"{k}={v!r}" for k, v in short.items() if k not in defaults or v != defaults[k]]
        text = ", ".join([*shown, f"name={name!r}"])
        weights = "not built"
        if self.built:
            count = sum(int(np.prod(w.shape)) for w in self.weights.info())
            weights = f"{self.dtype}, {len(self.weights)} weights, {count} numbers"
        return f"<{type(self).__name__}({text}): {weights}>"


def _short(value: Any) -> Any:
    """An initializer or regularizer without options by its name in snake case."""
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    if any(option is not None for option in value.get("config", {}).values()):
        return {"class_name": value["class_name"], "config": value["config"]}
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value["class_name"]).lower()


def _stand_in(given: Any) -> Any:
    """A shape as an array of that shape that takes no memory."""
    if isinstance(given, tuple) and all(isinstance(n, int) for n in given):
        return np.broadcast_to(np.float32(0), given)
    return given


def from_core(core: Any, attention_type: str, cls: type[Layer] | None = None) -> Layer:
    """The object of the type's class around a layer that the library has made."""
    from .layers import types

    cls = cls or types[attention_type]
    layer: Layer = cls.__new__(cls)
    _attn.LayerBase.__init__(layer, core)
    return layer


def _restore(
    attention_type: str, config: dict[str, Any], built: Any, cls: type[Layer] | None
) -> Layer:
    name = config.pop("name")
    layer = from_core(_attn.create(attention_type, config, name, False), attention_type, cls)
    if built is not None:
        shapes, dtype, weights = built
        layer.build(*shapes, dtype=dtype, seed=0)
        layer.weights.update(weights)
    return layer
