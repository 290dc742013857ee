# SPDX-License-Identifier: Apache-2.0
"""Layers as pairs of functions for jax: under jit, grad and vmap.

import attn.jax

layer = attn.jax.Layer(type, dim=64, num_heads=4)
params = layer.init(jax.random.key(0), x)
y = layer.apply(params, x)
grads = jax.grad(lambda p: layer.apply(p, x).sum())(params)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax  # type: ignore[import-not-found,import-untyped,unused-ignore]
import jax.numpy as jnp  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np

from ._stateless import Call, Stateless, like, make, sort_inputs

Params = dict[str, jax.Array]


class Layer:
    """The functions ``init`` and ``apply`` of one layer; ``init, apply = attn.jax.Layer(...)`` works, too.

    Args:
        attention_type: a name of attn.list_attention_types().
        **config: parameters of the type, checked here.
    """

    def __init__(self, attention_type: str, /, **config: Any) -> None:
        self._type, self._config = attention_type, config
        config = make(attention_type, config).get_config()
        self.name: str = config.pop("name")
        self.config: dict[str, Any] = config
        self._built: dict[Any, Stateless] = {}

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter((self.init, self.apply))

    def __repr__(self) -> str:
        return f"<attn.jax.Layer({self._type!r}, {self._config})>"

    def init(self, rng: Any, *inputs: Any, **named: Any) -> Params:
        """Weights by path, statistics among them, for inputs of these shapes.

        Args:
            rng: a key of jax.random. *inputs, **named: as for apply; jax.ShapeDtypeStruct will do.
        """
        given, _ = self._inputs(inputs, named)
        known = self._find(given, None)
        shapes, dtype = {n: a.shape for n, a in given.items()}, known.layer.dtype

        def draw(seed: Any) -> list[np.ndarray[Any, Any]]:
            high, low = (int(n) for n in np.asarray(seed))
            return Stateless(self._type, self._config, shapes, dtype, high << 32 | low).initial()

        specs = [jax.ShapeDtypeStruct(w.shape, w.dtype) for w in known.weights]
        values = jax.pure_callback(draw, specs, _bits(rng), vmap_method="sequential")
        return dict(zip((w.name for w in known.weights), values))

    def apply(
        self,
        params: Params,
        *inputs: Any,
        training: bool = False,
        rng: Any = None,
        aux: bool = False,
        **options: Any,
    ) -> Any:
        """Calls the layer: one output, or a tuple where the call gives several.

        Args:
            params: what init gave, perhaps trained.
            *inputs: arrays in the order of the type's inputs, or one list of them; None: not given.
            training: dropout, and statistics of the batch.
            rng: a key, needed in training calls of layers with dropout.
            aux: return (outputs, {"penalty": ..., "statistics": {path: ...}}): the sum of the regularizers, and what a
                training call makes of the statistics among the params, which apply itself leaves as they are.
            **options: inputs by name (attention_mask=...), and arguments of the type.
        """
        given, arguments = self._inputs(inputs, options)
        core = self._find(given, params)
        dropout = any(value for name, value in self.config.items() if "dropout" in name)
        if training and rng is None and dropout:
            raise ValueError(
                f"{self.name}: a training call with dropout needs rng=jax.random.key(...)"
            )
        call = Call(tuple(given), {**arguments, "training": bool(training)}, bool(training))
        arrays = [params[w.name] for w in core.weights] + [*given.values()]
        if call.seeded:
            arrays.append(jnp.zeros(2, jnp.uint32) if rng is None else _bits(rng))
        outputs, penalty, statistics = split(core, call, run(core, call, arrays))
        result = outputs[0] if len(outputs) == 1 else tuple(outputs)
        if not aux:
            return result
        names = [core.weights[n].name for n in core.statistics]
        zero = jnp.zeros((), core.layer.dtype)
        facts = {
            "penalty": zero if penalty is None else penalty,
            "statistics": dict(zip(names, statistics)),
        }
        return result, facts

    def _inputs(
        self, inputs: Sequence[Any], named: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        given, options = sort_inputs(self._type, self._config, inputs, named)
        abstract = jax.ShapeDtypeStruct
        return {
            n: a if isinstance(a, abstract) else jnp.asarray(a) for n, a in given.items()
        }, options

    def _find(self, given: dict[str, Any], params: Params | None) -> Stateless:
        """The layer for inputs like these, or for these params."""
        first = next(iter(given.values()))
        dtype = "float64" if first.dtype == jnp.float64 else "float32"
        if params is not None:
            key = (dtype, tuple(sorted((path, tuple(a.shape)) for path, a in params.items())))
            if key in self._built:
                return self._built[key]
        core = Stateless(self._type, self._config, {n: a.shape for n, a in given.items()}, dtype)
        wanted = tuple(sorted((w.name, tuple(w.shape)) for w in core.weights))
        if params is not None and key[1] != wanted:
            raise ValueError(
                f"{self.name}: params are {dict(key[1])}, but inputs of these shapes need {dict(wanted)}; "
                "give what init returned"
            )
        return self._built.setdefault((dtype, wanted), core)


def run(core: Stateless, call: Call, arrays: list[Any]) -> list[Any]:
    """Stateless.run() as jax sees it: one call of the host, with a gradient that is another one."""
    # One function for equal calls, so that jax compiles it once where there is no jit around it.
    inputs = arrays[len(core.weights) : len(core.weights) + len(call.inputs)]
    facts = tuple((a.shape, str(a.dtype)) for a in inputs)
    key = (call.inputs, repr(sorted(call.options.items())), call.seeded, facts)
    if key not in core.functions:
        core.functions[key] = _function(core, call, inputs)
    return core.functions[key](*arrays)  # type: ignore[no-any-return]


def _function(core: Stateless, call: Call, inputs: list[Any]) -> Any:
    kind = next(a.dtype for a in inputs if _floating(a))
    shapes = core.shapes(call, [a.shape for a in inputs], [a.dtype for a in inputs])
    specs = [jax.ShapeDtypeStruct(s, kind) for s in shapes]
    if core.penalized:
        specs.append(jax.ShapeDtypeStruct((), core.layer.dtype))
    if call.options["training"]:
        kept = [core.weights[n] for n in core.statistics]
        specs += [jax.ShapeDtypeStruct(w.shape, w.dtype) for w in kept]

    def forward(*values: Any) -> list[np.ndarray[Any, Any]]:
        results = core.run(call, [np.asarray(v) for v in values])
        return [np.asarray(r).astype(s.dtype, copy=False) for r, s in zip(results, specs)]

    def backward(values: Any, upstream: Any) -> list[np.ndarray[Any, Any]]:
        plain = [np.asarray(v) for v in values]
        found = core.gradients(call, plain, [np.asarray(u) for u in upstream])
        return [like(g, a) for g, a in zip(found, plain) if _floating(a)]

    @jax.custom_vjp  # type: ignore[untyped-decorator,unused-ignore]
    def op(*values: Any) -> list[Any]:
        return list(jax.pure_callback(forward, specs, *values, vmap_method="sequential"))

    def op_backward(values: Any, upstream: Any) -> tuple[Any, ...]:
        like_them = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in values if _floating(a)]
        found = iter(
            jax.pure_callback(backward, like_them, values, upstream, vmap_method="sequential")
        )
        return tuple(next(found) if _floating(a) else None for a in values)

    op.defvjp(lambda *values: (op(*values), values), op_backward)
    return op


def _floating(array: Any) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.floating))


def split(core: Stateless, call: Call, results: list[Any]) -> tuple[list[Any], Any, list[Any]]:
    """Outputs, penalty or None, statistics of what run() gave."""
    statistics = len(core.statistics) if call.options["training"] else 0
    n = len(results) - statistics
    penalty = results[n - 1] if core.penalized else None
    return results[: n - core.penalized], penalty, results[n:]


def _bits(rng: Any) -> jax.Array:
    return jax.random.bits(rng, (2,), jnp.uint32)
