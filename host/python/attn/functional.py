# SPDX-License-Identifier: Apache-2.0
"""Attention and rotary embedding as functions of arrays: no layer, no weights, no state.

Arrays of numpy, torch, jax and tensorflow; results are of the kind that ``query`` (or ``input``) is. torch's autograd
and compiler see operators of their own (_functional_torch.py); for everything else there are the functions ``..._backward``.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from . import _attn


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    softcap: float = 0.0,
    past_key: Any = None,
    past_value: Any = None,
    nonpad_kv_seqlen: Any = None,
    left_window_size: int = -1,
    right_window_size: int = -1,
    q_num_heads: int | None = None,
    kv_num_heads: int | None = None,
    softmax_precision: str | None = None,
    sinks: Any = None,
    return_present: bool = False,
    return_lse: bool = False,
    qk_matmul_output_mode: int | None = None,
    seed: int | None = None,
) -> Any:
    """softmax(scale query key' + mask) value, with the arguments of torch.nn.functional's function and of ONNX Attention.

    Query i of example b stands at p = offset + i: offset is P with a past, nonpad_kv_seqlen[b] - L with lengths, else 0.
    It sees key j where j < nonpad_kv_seqlen[b], j <= p if is_causal, p - left_window_size <= j <= p + right_window_size
    for each of them that is not -1, and the mask is True or not -infinity. A query that sees no key gets zeros.

    Args:
        query: (B, H, L, D), float32, float64, float16 or bfloat16.
        key: (B, G, S, D), of query's dtype; query head h reads head h // (H / G).
        value: (B, G, S, E).
        attn_mask: bool (True: attend) or query's dtype (added), right-aligned to (B, H, L, T), T = P + S. Three axes are
            (H, L, T), unlike the masks of layers. A last extent of 2..T-1 is filled up as masked.
        dropout_p: probability with which a weight is dropped; not 0 means always, there is no training flag.
        is_causal: no query sees keys after its place. May be given with attn_mask.
        scale: None is 1 / sqrt(D); 0.0 is a number like others.
        enable_gqa: G may differ from H.
        softcap: scores become softcap tanh(scores / softcap), before the mask; 0.0: they do not.
        past_key: (B, G, P, D), the keys before those of key; past_value: (B, G, P, E).
        nonpad_kv_seqlen: (B), int32 or int64, 0..S: the keys of each example that count.
        left_window_size: how many keys before its place a query sees; -1: all.
        right_window_size: how many after it.
        q_num_heads: H of three-axis arrays (B, L, H * D), (B, S, G * D), (B, S, G * E); kv_num_heads is G. All else
            keeps four axes.
        softmax_precision: "float32" or "float64"; half types are computed in float32 at least.
        sinks: (H), one more score of each head, whose share of the softmax is dropped.
        return_present: also the keys (B, G, T, D) and values (B, G, T, E) of past and present.
        return_lse: also the natural logarithm of the softmax's sum, (B, H, L); float32 for half types.
        qk_matmul_output_mode: also the scores (B, H, L, T): 0 raw, 1 capped, 2 with the mask, 3 after the softmax.
        seed: of dropout; None: torch's generator for its tensors, else Python's random.

    Returns:
        y (B, H, L, E) or (B, L, H * E); with more results a tuple y[, present_key, present_value][, lse][, scores].
        For torch tensors y, lse and the presents have gradients, scores have none.

    Raises:
        ValueError: shapes, dtypes or options that do not fit. TypeError: what is no such array, number or bool.
    """
    arguments = dict(
        query=query,
        key=key,
        value=value,
        attn_mask=attn_mask,
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=enable_gqa,
        softcap=softcap,
        past_key=past_key,
        past_value=past_value,
        nonpad_kv_seqlen=nonpad_kv_seqlen,
        left_window_size=left_window_size,
        right_window_size=right_window_size,
        q_num_heads=q_num_heads,
        kv_num_heads=kv_num_heads,
        softmax_precision=softmax_precision,
        sinks=sinks,
        return_present=return_present,
        return_lse=return_lse,
        qk_matmul_output_mode=qk_matmul_output_mode,
        seed=seed,
    )
    if _is_torch(query):
        from . import _functional_torch

        return _functional_torch.attention(arguments)
    if seed is None:
        arguments["seed"] = random.getrandbits(64) if dropout_p else 0
    return _attn.scaled_dot_product_attention(arguments)


def scaled_dot_product_attention_backward(
    dy: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    dlse: Any = None,
    softcap: float = 0.0,
    past_key: Any = None,
    past_value: Any = None,
    nonpad_kv_seqlen: Any = None,
    left_window_size: int = -1,
    right_window_size: int = -1,
    q_num_heads: int | None = None,
    kv_num_heads: int | None = None,
    softmax_precision: str | None = None,
    sinks: Any = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Gradients of sum(y * dy) + sum(lse * dlse), by argument: of query, key, value, and of an additive attn_mask,
    past_key, past_value and sinks where they are given.

    Args:
        dy: of y's shape; None is zero. dlse: of lse's.
        seed: that of the forward call, needed with dropout. The rest as in the forward call.
    """
    if dropout_p and seed is None:
        raise ValueError(
            "scaled_dot_product_attention_backward: 'seed' must be that of the forward call, got None; "
            "with dropout give both calls the same"
        )
    return _attn.scaled_dot_product_attention_backward(
        dict(
            dy=dy,
            dlse=dlse,
            query=query,
            key=key,
            value=value,
            attn_mask=attn_mask,
            dropout_p=dropout_p,
            is_causal=is_causal,
            scale=scale,
            enable_gqa=enable_gqa,
            softcap=softcap,
            past_key=past_key,
            past_value=past_value,
            nonpad_kv_seqlen=nonpad_kv_seqlen,
            left_window_size=left_window_size,
            right_window_size=right_window_size,
            q_num_heads=q_num_heads,
            kv_num_heads=kv_num_heads,
            softmax_precision=softmax_precision,
            sinks=sinks,
            seed=seed,
        ),
        None,
    )


def rotary_embedding(
    input: Any,
    cos_cache: Any,
    sin_cache: Any,
    position_ids: Any = None,
    *,
    interleaved: bool = False,
    rotary_embedding_dim: int = 0,
    num_heads: int | None = None,
) -> Any:
    """Turns pairs (x, x') of each head: cos x - sin x', sin x + cos x', as ONNX RotaryEmbedding does.

    Args:
        input: (B, H, L, D), or (B, L, H * D) with num_heads.
        cos_cache: (positions, R / 2) with position_ids, (B, L, R / 2) without, of input's dtype; sin_cache likewise.
        position_ids: (B, L), int32 or int64.
        interleaved: pairs are (2i, 2i + 1) instead of (i, i + R / 2).
        rotary_embedding_dim: R, even: how many elements of a head turn; 0: all.
        num_heads: H of an input with three axes.

    Returns:
        An array like input. For torch tensors its gradient goes to input.
    """
    arguments = dict(
        input=input,
        cos_cache=cos_cache,
        sin_cache=sin_cache,
        position_ids=position_ids,
        interleaved=interleaved,
        rotary_embedding_dim=rotary_embedding_dim,
        num_heads=num_heads,
    )
    if _is_torch(input):
        from . import _functional_torch

        return _functional_torch.rotary(arguments)
    return _attn.rotary_embedding(arguments)


def rotary_embedding_backward(
    dy: Any,
    cos_cache: Any,
    sin_cache: Any,
    position_ids: Any = None,
    *,
    interleaved: bool = False,
    rotary_embedding_dim: int = 0,
    num_heads: int | None = None,
) -> Any:
    """The gradient of input in sum(rotary_embedding(input, ...) * dy)."""
    return _attn.rotary_embedding_backward(
        dict(
            dy=dy,
            cos_cache=cos_cache,
            sin_cache=sin_cache,
            position_ids=position_ids,
            interleaved=interleaved,
            rotary_embedding_dim=rotary_embedding_dim,
            num_heads=num_heads,
        )
    )


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)
