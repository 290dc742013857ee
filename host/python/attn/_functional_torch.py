# SPDX-License-Identifier: Apache-2.0
"""The functions of functional.py for torch tensors: operators attn::..., with gradients and a kernel that tells shapes.

Imported when the first tensor comes in. As operators they stay whole in torch.compile, torch.export and make_fx.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _attn

# The arguments of all operators, in torch's notation of schemas; names are those of the Python functions.
_TENSORS = (
    "Tensor query, Tensor key, Tensor value, Tensor? attn_mask, Tensor? past_key, Tensor? past_value, "
    "Tensor? sinks, Tensor? nonpad_kv_seqlen, Tensor? seed"
)
_OPTIONS = (
    "float dropout_p, bool is_causal, float? scale, bool enable_gqa, float softcap, SymInt left_window_size, "
    "SymInt right_window_size, SymInt? q_num_heads, SymInt? kv_num_heads, str? softmax_precision"
)
_RESULTS = "bool return_present, bool return_lse, int? qk_matmul_output_mode"
_ROTARY = "Tensor cos_cache, Tensor sin_cache, Tensor? position_ids, bool interleaved, SymInt rotary_embedding_dim, SymInt? num_heads"
_TYPES: dict[str, Any] = {
    "float": (int, float),
    "bool": bool,
    "SymInt": int,
    "int": int,
    "str": str,
}


def _names(schema: str) -> tuple[str, ...]:
    return tuple(part.split()[1] for part in schema.split(", "))


_FORWARD = _names(f"{_TENSORS}, {_OPTIONS}, {_RESULTS}")
_BACKWARD = _names(f"Tensor? dy, Tensor? dlse, {_TENSORS}, {_OPTIONS}")
_TURN = _names(_ROTARY)
_SAVED = len(_names(_TENSORS))
_TRAINED = _names(_TENSORS)[:7]  # those that have gradients


def _arguments(function: str, schema: str, given: dict[str, Any]) -> list[Any]:
    """What the operator takes, in its order; TypeError where the dispatcher would speak of schemas."""
    values = []
    for part in schema.split(", "):
        kind, name = part.split()
        value = given[name]
        wanted: Any = Tensor if kind.startswith("Tensor") else _TYPES[kind.rstrip("?")]
        if (isinstance(value, bool) and wanted is not bool) or not isinstance(value, wanted):
            if value is not None or not kind.endswith("?"):
                text: dict[Any, str] = {
                    Tensor: "a torch.Tensor",
                    bool: "True or False",
                    int: "an integer",
                    str: "a str",
                }
                raise TypeError(
                    f"{function}: '{name}' must be {text.get(wanted, 'a number')}"
                    f"{' or None' if kind.endswith('?') else ''}, got {value!r}"
                    if not hasattr(value, "shape")
                    else f"{function}: '{name}' must be a torch.Tensor as the first argument is, "
                    f"got {type(value).__name__}"
                )
        values.append(value)
    return values


def attention(given: dict[str, Any]) -> Any:
    """scaled_dot_product_attention() of functional.py."""
    seed = given["seed"]
    if seed is not None and not 0 <= seed < 2**63:
        raise ValueError(
            f"scaled_dot_product_attention: 'seed' must be 0 to 2^63 - 1 for tensors, got {seed}"
        )
    if given["dropout_p"]:
        given["seed"] = (
            torch.randint(2**63 - 1, (), dtype=torch.int64) if seed is None else torch.tensor(seed)
        )
    else:
        given["seed"] = None
    schema = f"{_TENSORS}, {_OPTIONS}, {_RESULTS}"
    results = _attention(*_arguments("scaled_dot_product_attention", schema, given))
    return results[0] if len(results) == 1 else tuple(results)


def rotary(given: dict[str, Any]) -> Tensor:
    """rotary_embedding() of functional.py."""
    arguments = _arguments("rotary_embedding", f"Tensor input, {_ROTARY}", given)
    if torch.is_grad_enabled() and (arguments[1].requires_grad or arguments[2].requires_grad):
        raise TypeError(
            "rotary_embedding: cos_cache and sin_cache have no gradient; give cos_cache.detach() "
            "and sin_cache.detach()"
        )
    turned: Tensor = _rotary(*arguments)
    return turned


# ---- attention ----------------------------------------------------------------------------------


def _plain(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    arguments = dict(zip(names, values))
    seed = arguments["seed"]
    arguments["seed"] = 0 if seed is None else int(seed)
    return arguments


def _run(*values: Any) -> list[Tensor]:
    results = _attn.scaled_dot_product_attention(_plain(_FORWARD, values))
    return list(results) if isinstance(results, tuple) else [results]


def _run_backward(*values: Any) -> list[Tensor]:
    wanted = [name for name, wants in zip(_TRAINED, values[-1]) if wants]
    found = _attn.scaled_dot_product_attention_backward(_plain(_BACKWARD, values[:-1]), wanted)
    return [found[name] for name in wanted]


_attention = torch.library.custom_op(
    "attn::scaled_dot_product_attention",
    _run,
    mutates_args=(),
    schema=f"({_TENSORS}, {_OPTIONS}, {_RESULTS}) -> Tensor[]",
)
_attention_backward = torch.library.custom_op(
    "attn::scaled_dot_product_attention_backward",
    _run_backward,
    mutates_args=(),
    schema=f"(Tensor? dy, Tensor? dlse, {_TENSORS}, {_OPTIONS}, bool[] wanted) -> Tensor[]",
)


@_attention.register_fake
def _shapes(*values: Any) -> list[Tensor]:
    a = dict(zip(_FORWARD, values))
    query, key, value = values[:3]
    heads, key_heads = a["q_num_heads"], a["kv_num_heads"]
    batch, length = query.shape[0], query.shape[-2]
    if heads is None:
        heads, key_heads, depth, width = query.shape[1], key.shape[1], key.shape[3], value.shape[3]
        y = [batch, heads, length, width]
    else:
        depth, width = key.shape[2] // key_heads, value.shape[2] // key_heads
        y = [batch, length, heads * width]
    keys = key.shape[-2] if a["past_key"] is None else key.shape[-2] + a["past_key"].shape[2]
    results = [query.new_empty(y)]
    if a["return_present"]:
        results.append(key.new_empty([batch, key_heads, keys, depth]))
        results.append(value.new_empty([batch, key_heads, keys, width]))
    if a["return_lse"]:
        half = query.dtype in (torch.float16, torch.bfloat16)
        kind = torch.float32 if half else query.dtype
        results.append(query.new_empty([batch, heads, length], dtype=kind))
    if a["qk_matmul_output_mode"] is not None:
        results.append(query.new_empty([batch, heads, length, keys]))
    return results


@_attention_backward.register_fake
def _backward_shapes(*values: Any) -> list[Tensor]:
    a = dict(zip(_BACKWARD, values))
    wanted = [a[name] for name, wants in zip(_TRAINED, values[-1]) if wants]
    return [array.new_empty(array.shape) for array in wanted]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.save_for_backward(*inputs[:_SAVED])
    ctx.options = inputs[_SAVED:]
    ctx.set_materialize_grads(False)
    if inputs[-1] is not None:
        ctx.mark_non_differentiable(output[-1])


def _differentiate(ctx: Any, gradients: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    arrays = dict(zip(_names(_TENSORS), ctx.saved_tensors))
    options = dict(zip(_FORWARD[_SAVED:], ctx.options))
    wants = list(ctx.needs_input_grad[: len(_TRAINED)])
    present = gradients[1:3] if options["return_present"] else [None, None]
    dlse = gradients[1 + 2 * options["return_present"]] if options["return_lse"] else None
    found: dict[str, Tensor] = {}
    if gradients[0] is not None or dlse is not None:
        values = _attention_backward(
            gradients[0], dlse, *ctx.saved_tensors, *ctx.options[: len(_names(_OPTIONS))], wants
        )
        found = dict(zip((n for n, w in zip(_TRAINED, wants) if w), values))
    # A present is its past followed by the new keys or values.
    for name, gradient in zip(("key", "value"), present):
        if gradient is None:
            continue
        past, new = arrays[f"past_{name}"], arrays[name]
        length = 0 if past is None else past.shape[2]
        parts = {name: gradient[:, :, length:]}
        if new.dim() == 3:
            parts[name] = parts[name].transpose(1, 2).reshape(new.shape)
        if past is not None:
            parts[f"past_{name}"] = gradient[:, :, :length]
        for part, share in parts.items():
            found[part] = found[part] + share if part in found else share
    chosen = [found.get(n) if w else None for n, w in zip(_TRAINED, wants)]
    return (*chosen, *[None] * (len(_FORWARD) - len(_TRAINED)))


_attention.register_autograd(_differentiate, setup_context=_keep)


# ---- rotary embedding, whose gradient is the same turn backwards --------------------------------


def _make_rotary(name: str, first: str, run: Any) -> Any:
    op = torch.library.custom_op(
        f"attn::{name}",
        lambda x, *options: run({first: x, **dict(zip(_TURN, options))}),
        mutates_args=(),
        schema=f"(Tensor {first}, {_ROTARY}) -> Tensor",
    )
    op.register_fake(lambda x, *options: x.new_empty(x.shape))
    return op


def _keep_caches(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:4])
    ctx.options = inputs[4:]


_rotary = _make_rotary("rotary_embedding", "input", _attn.rotary_embedding)
_rotary_backward = _make_rotary("rotary_embedding_backward", "dy", _attn.rotary_embedding_backward)
for _op, _other in ((_rotary, _rotary_backward), (_rotary_backward, _rotary)):

    def _turn_back(ctx: Any, gradient: Tensor, other: Any = _other) -> tuple[Tensor | None, ...]:
        turned = other(gradient, *ctx.saved_tensors, *ctx.options)
        return (turned, *[None] * len(_TURN))

    _op.register_autograd(_turn_back, setup_context=_keep_caches)
