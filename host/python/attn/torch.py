# SPDX-License-Identifier: Apache-2.0
"""Layers as modules of torch.

    attention = attn.torch.Module(type, dim=64, num_heads=4)
    y = attention(x, attention_mask=mask, use_causal_mask=True)

The parameters are the layer's own memory; host/docs/frameworks.md tells more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from . import _attn, _torch_layers, _torch_op
from ._errors import InvalidArgument
from ._stateless import keywords, ports
from ._torch_weights import Weights, on_cpu
from .factory import create_attention_layer
from .layer import Layer, Shape
from .layers import types

_PROBES = (64, 48, 720)  # widths that are tried to learn the names of weights
_REFUSED = {
    "training": "use module.train() and module.eval()",
    "seed": "use torch.manual_seed",
    "state": "decode with module.layer, outside of autograd",
}


class Module(Weights):
    """A layer of any type, with its weights as parameters: "query/kernel" is the parameter "query.kernel".

    Args:
        type: name of the type, as for attn.create_attention_layer.
        name: of the layer, in messages.
        config: parameters of the type.

    Parameters exist from the beginning. Where the configuration leaves their shapes open (a width that it does not
    name), they are uninitialized, as those of torch's lazy modules, until build() or the first call.
    Statistics and fixed weights are buffers. Initial values follow torch.manual_seed; so does dropout, which
    train() and eval() switch. float64 parameters compute in float64, all others in float32.

    Parameters lie in the memory of a layer of the library. One that is put elsewhere is used all the same, and copied
    at each call. Any number of threads may call.
    """

    def __init__(self, type: str, name: str | None = None, **config: Any) -> None:
        layer = create_attention_layer(type, name, **config)
        super().__init__(name or layer.type)
        self.attention_type: str = layer.type
        self.config: dict[str, Any] = {**layer.get_config(), "name": self._name}
        schema = types.schema(layer.type)
        self._inputs, self._keywords = schema["inputs"], keywords(schema)
        self._ports = ports(schema, self.config)
        self._names = {n: i for i, p in enumerate(self._ports) for n in (p["name"], *p["aliases"])}
        self._refuse_penalties()
        if not self._probe(-1, self._adopt):
            any(self._probe(width, lambda _, found: self._declare(found)) for width in _PROBES)

    def _refuse_penalties(self) -> None:
        for p in types.schema(self.attention_type)["parameters"]:
            if "regularizer" in p["kind"] and self.config[p["name"]] is not None:
                raise InvalidArgument(
                    f"{self._name}: {p['name']} is set; expected None, because modules of torch have no "
                    "penalties; add the penalty to the loss, or set weight_decay of the optimizer",
                    where=self._name,
                    type=self.attention_type,
                    parameter=p["name"],
                )

    # ---- building -------------------------------------------------------------------------------

    def build(self, *shapes: Shape | None) -> None:
        """Makes the parameters for inputs of these shapes, in the order of the type's inputs."""
        if self._spec:
            raise InvalidArgument(f"{self._name}: already built; make another module")
        self._adopt(*self._layer_for(shapes))

    def _layer_for(self, shapes: Sequence[Shape | None]) -> tuple[str, Layer]:
        plain = [None if s is None else [-1 if n is None else int(n) for n in s] for s in shapes]
        spec = json.dumps({**self.config, "type": self.attention_type, "shapes": plain})
        dtype = _torch_layers.dtype_of(
            self._tensors(self._weights) or [torch.empty(0, device="cpu")]
        )
        return spec, _torch_layers.make(
            spec, dtype, int(torch.randint(2**63 - 1, (), device="cpu"))
        )

    def _probe(self, unknown: int, then: Callable[[str, Layer], None]) -> bool:
        """Tries the shapes that the type takes, with what the configuration says of their extents."""
        shapes = [() if p["optional"] else p["shapes"] for p in self._inputs]
        for i in range(max(map(len, shapes))):
            words = [s[min(i, len(s) - 1)].strip("()").split(", ") if s else None for s in shapes]
            extents = [w and [self.config.get(n, unknown) for n in w] for w in words]
            try:
                found = self._layer_for(extents)
            except InvalidArgument:
                continue
            then(*found)
            return True
        return False

    # ---- calls ----------------------------------------------------------------------------------

    def forward(self, *inputs: Tensor | None, **options: Any) -> Any:
        """Inputs in the order of the type's or by name; other keywords are arguments of the type.

        Gives a tensor, or a tuple where the call has several outputs.
        """
        given = self._assign(inputs, options)
        if not self._spec:
            pairs = zip(given, self._inputs)
            self.build(*(None if t is None or p["mask"] else tuple(t.shape) for t, p in pairs))
        if not self._settled and not torch.compiler.is_compiling():
            self._settle()
        weights, statistics = self._tensors(self._weights), self._tensors(self._statistics)
        seed = None
        if self.training:
            seed = torch.randint(2**63 - 1, (), device="cpu")
            statistics = [s.clone() for s in statistics]
        record = torch.is_grad_enabled() and not torch.compiler.is_exporting()
        places = [i for i, t in enumerate(given) if t is not None]
        present = [t for t in given if t is not None]
        record = record and any(t.requires_grad for t in [*present, *weights])
        call = (seed, self._spec, repr(options), self.training, record)
        results = _torch_op.layer_op(present, places, weights, statistics, *call)[:-1]
        if self.training and statistics:
            for old, new in zip(self._tensors(self._statistics), results[-len(statistics) :]):
                old.copy_(new)
            results = results[: -len(statistics)]
        return results[0] if len(results) == 1 else tuple(results)

    def _assign(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> list[Tensor | None]:
        """The inputs in the order of the type's; takes those among the options away."""
        name = self._name
        if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = tuple(inputs[0])
        if len(inputs) > len(self._ports):
            raise InvalidArgument(
                f"{name}: {len(inputs)} inputs given; expected at most {len(self._ports)}, "
                f"{[port['name'] for port in self._ports]}"
            )
        given: list[Tensor | None] = [*inputs] + [None] * (len(self._ports) - len(inputs))
        for word in [w for w in options if w in self._names]:
            place = self._names[word]
            if given[place] is not None:
                raise InvalidArgument(f"{name}: input '{word}' is set more than once")
            given[place] = options.pop(word)
        for word, instead in _REFUSED.items():
            if word in options:
                raise InvalidArgument(
                    f"{name}: argument '{word}' is not one of a module; {instead}"
                )
        for word in [w for w in options if w not in self._keywords]:
            raise TypeError(f"{name}: {_attn.unknown_keyword(self.attention_type, word)}")
        for word, value in options.items():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                if not isinstance(part, (bool, int, float, str, NoneType)):
                    raise TypeError(f"{name}: argument '{word}' is of type {type(part).__name__}; expected a number, a "
                                    "truth value, a text, None or a list of them; convert it first")  # fmt: skip
        for t, port in zip(given, self._ports):
            if t is None:
                continue
            if not isinstance(t, Tensor):
                raise TypeError(
                    f"{name}: input '{port['name']}' must be a torch.Tensor; torch.as_tensor makes one"
                )
            on_cpu(t, f"{name}: input '{port['name']}'", "use tensor.cpu()")
        return given

    @property
    def layer(self) -> Layer:
        """The layer with the values of the parameters: for states, attention maps, profiles, files."""
        if not self._settled:
            self._settle()
        tensors = self._tensors(self._weights), self._tensors(self._statistics)
        with torch.no_grad():
            return _torch_layers.layer_with(self._spec, [], *tensors)[1]

    def extra_repr(self) -> str:
        defaults = types.schema(self.attention_type)["defaults"]
        shown = [f"{k}={v!r}" for k, v in self.config.items() if k in defaults and v != defaults[k]]
        return ", ".join([repr(self.attention_type), *shown])
