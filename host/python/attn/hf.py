# SPDX-License-Identifier: Apache-2.0
"""Attention of Hugging Face models by attn.scaled_dot_product_attention.

    attn.hf.register()
    model = AutoModel.from_pretrained("...", attn_implementation="attn")

Encoders and decoders, padded on either side, with every cache, trained or not. Sliding and chunked windows come in
the mask that transformers makes; soft caps, sinks, grouped heads and position biases are passed on. What a model asks
for that attention here does not have is refused by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (  # type: ignore[import-not-found,unused-ignore]
    AttentionInterface,
    AttentionMaskInterface,
)
from transformers.masking_utils import (  # type: ignore[import-not-found,unused-ignore]
    sdpa_mask,
)

from ._errors import InvalidArgument
from .functional import scaled_dot_product_attention

# What says nothing about the result of attention, or is in the mask already.
_SAID_ELSEWHERE = frozenset(
    [
        "sliding_window",
        "position_ids",
        "cache_position",
        "use_cache",
        "deterministic",
        "seq_idx",
        "return_dict",
    ]
    + [
        "max_length_q",
        "max_length_k",
        "num_items_in_batch",
        "output_hidden_states",
        "output_router_logits",
    ]
)


def register(name: str = "attn") -> None:
    """Makes ``attn_implementation=name`` known to transformers: attention function and mask function."""
    taken = {"eager", *AttentionInterface._global_mapping, *AttentionMaskInterface._global_mapping}
    known = AttentionInterface._global_mapping.get(name) is attention
    if not name or (name in taken and not known) or "flash" in name or set("/|:@") & set(name):
        raise InvalidArgument(
            f"attn.hf.register: name {name!r} means something else to transformers; expected a word of its own "
            "without 'flash', '/', '|', ':' and '@'; use for example 'attn'",
            where="attn.hf.register",
            parameter="name",
            value=repr(name),
        )
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sinks: Tensor | None = None,
    position_bias: Tensor | None = None,
    output_attentions: bool | None = None,
    **rest: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that models call: query (batch, heads, length, size), keys and values likewise.

    Gives (batch, length, heads, size), and with output_attentions the probabilities. A mask of bool means attend, one
    of floats is added. Without one, is_causal (or the module's) decides, except for a single query, which sees
    all keys. A query that sees no key, such as padding on the left, gets zeros.
    """
    sinks = s_aux if sinks is None else sinks
    _refuse(module, query, key, attention_mask, sinks, rest)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = bool(causal) and attention_mask is None and query.shape[2] > 1
    results = scaled_dot_product_attention(
        query if query.shape[0] == key.shape[0] else query.expand(key.shape[0], -1, -1, -1),
        key,
        value,
        attn_mask=_biased(query, attention_mask, position_bias),
        dropout_p=float(dropout),
        is_causal=causal,
        scale=scaling,
        enable_gqa=True,
        softcap=float(softcap or 0.0),
        sinks=None if sinks is None else sinks.to(query.dtype),
        qk_matmul_output_mode=3 if output_attentions else None,
    )
    output, weights = results if output_attentions else (results, None)
    return output.transpose(1, 2).contiguous(), weights


def _biased(query: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """Mask and bias as one mask, of bool or of query's dtype."""
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    if bias is None:
        return mask
    bias = bias.to(query.dtype)
    if mask is None:
        return bias
    return torch.where(mask, bias, -torch.inf) if mask.dtype == torch.bool else mask + bias


def _refuse(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
    rest: dict[str, Any],
) -> None:
    where = f"attn.hf: {type(module).__name__}"
    if query.device.type not in ("cpu", "meta"):
        raise TypeError(
            f"{where}: query is on {query.device}; expected the CPU; use model.to('cpu')"
        )
    if mask is not None and (
        mask.ndim != 4 or not (mask.is_floating_point() or mask.dtype == torch.bool)
    ):
        raise InvalidArgument(
            f"{where}: attention_mask is {str(mask.dtype)[6:]} {tuple(mask.shape)}; expected bool or floating "
            "(batch, heads or 1, queries, keys); give the model its mask of (batch, keys)",
            where=where,
            parameter="attention_mask",
        )
    if sinks is not None and tuple(sinks.shape) != (query.shape[1],):
        raise InvalidArgument(
            f"{where}: sinks of shape {tuple(sinks.shape)}; expected one for each head, ({query.shape[1]}); use "
            "attn_implementation='eager' for this model",
            where=where,
            parameter="sinks",
        )
    packed = rest.pop("cu_seq_lens_q", None), rest.pop("cu_seq_lens_k", None)
    if mask is None and any(p is not None and len(p) > 2 for p in packed):
        raise InvalidArgument(
            f"{where}: cu_seq_lens_q without a mask; expected the limits of packed sequences in the mask; give "
            "position_ids that begin anew with each sequence",
            where=where,
            parameter="cu_seq_lens_q",
        )
    for name, value in rest.items():
        if name not in _SAID_ELSEWHERE and value is not None and value is not False:
            raise InvalidArgument(
                f"{where}: argument '{name}' is not known to this attention; expected one of scaling, dropout, "
                "is_causal, softcap, s_aux, sinks, position_bias, output_attentions; use "
                "attn_implementation='eager' for this model",
                where=where,
                parameter=name,
            )
