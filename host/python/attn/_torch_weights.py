# SPDX-License-Identifier: Apache-2.0
"""Weights of a layer as parameters and buffers of a module of torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

from . import _torch_layers
from ._errors import InvalidArgument
from .layer import Layer

_lock = threading.Lock()


class Weights(nn.Module):
    """A module whose parameters lie in the memory of a layer: "query/kernel" is the parameter "query.kernel".

    What takes them out of it (a copy of the module, another dtype, load_state_dict(assign=True)) is noticed, and they
    get the memory of another layer before the next call; after ``p.data = ...`` and in shared memory they stay.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name  # of the layer, in messages
        self._spec = ""  # of the layer; "" before it is built
        self._settled = True  # False: the parameters may have left the layer's memory
        self._weights: list[str] = []
        self._statistics: list[str] = []

    def _declare(self, layer: Layer) -> None:
        """Parameters and buffers without shapes, with the names of this layer's weights."""
        self._list(layer)
        for w in layer.weights.info():
            owner, name = self._place(w.name)
            if w.trainable:
                owner.register_parameter(name, UninitializedParameter())  # type: ignore[arg-type]
            else:
                owner.register_buffer(name, UninitializedBuffer())

    def _list(self, layer: Layer) -> None:
        self._weights = _torch_layers.names(layer, False)
        self._statistics = _torch_layers.names(layer, True)

    def _adopt(self, spec: str, layer: Layer) -> None:
        """The layer's memory becomes that of the parameters, which keep their values if they have any."""
        self._list(layer)
        infos = layer.weights.info()
        memory = {w.name: torch.from_numpy(layer.weights[w.name]) for w in infos}
        held = {w.name: getattr(*self._place(w.name), None) for w in infos}
        for w in infos:
            old = held[w.name]
            if old is not None and not is_lazy(old) and old.shape != w.shape:
                raise InvalidArgument(
                    f"{self._name}: {w.name} has shape {tuple(old.shape)}; expected {w.shape} for these "
                    "inputs; give inputs of the width that it was made for",
                    where=self._name,
                    parameter=w.name,
                )
        for w in infos:
            owner, name = self._place(w.name)
            old, new = held[w.name], memory[w.name]
            value = new.clone() if w.statistic else new  # calls must not change what they are given
            if old is None and w.trainable:
                owner.register_parameter(name, nn.Parameter(value))
            elif old is None:
                owner.register_buffer(name, value)
            elif is_lazy(old):
                old.materialize(new.shape, device=new.device, dtype=new.dtype)
                old.data = value
            elif not w.statistic:
                new.copy_(old.detach())
                old.data = new
        self._spec = spec
        _torch_layers.own(spec, [memory[n] for n in self._weights], layer)

    def _place(self, path: str) -> tuple[nn.Module, str]:
        owner: nn.Module = self
        *parts, name = path.split("/")
        for part in parts:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        return owner, name

    def _tensors(self, paths: list[str]) -> list[Tensor]:
        found = []
        for path in paths:
            owner: Any = self
            for part in path.split("/"):
                owner = getattr(
                    owner, part
                )  # a property, where torch.nn.utils.parametrize made one
            found.append(owner)
        return found

    def _settle(self) -> None:
        with _lock:
            self._settled = True
            held = self._tensors(self._weights)
            if not self._spec or not held or not all(_movable(t) for t in held):
                return
            kinds = {t.dtype for t in held if t.is_floating_point()}
            whole = len(kinds) == 1 and kinds <= {torch.float32, torch.float64}
            if whole and not _torch_layers.owned(self._spec, held):
                self._adopt(
                    self._spec, _torch_layers.make(self._spec, _torch_layers.dtype_of(held))
                )

    # ---- what moves parameters ------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Weights:
        on_cpu(fn(torch.empty(0, device="cpu")), f"{self._name}: the parameters", "use .to('cpu')")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._settle()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._settled = False

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for path in [*self._weights, *self._statistics]:
            owner, name = self._place(path)
            given = state_dict.get(prefix + path.replace("/", "."))
            if isinstance(given, Tensor) and not is_lazy(given) and is_lazy(getattr(owner, name)):
                getattr(owner, name).materialize(given.shape, dtype=given.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._settled = False


def _movable(tensor: Tensor) -> bool:
    shared: bool = tensor.is_shared()  # type: ignore[no-untyped-call]
    return tensor.device.type == "cpu" and not shared


def on_cpu(tensor: Tensor, what: str, hint: str) -> None:
    """Refuses tensors with memory on a device. "meta" has none."""
    if tensor.device.type not in ("cpu", "meta"):
        raise TypeError(f"{what}: on device {tensor.device}; expected the CPU; {hint}")
