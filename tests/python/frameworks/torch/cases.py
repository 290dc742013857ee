# SPDX-License-Identifier: Apache-2.0
"""A small layer of every type, with inputs."""

from __future__ import annotations

import torch

import attn
import attn.torch

_HEADS = {"dim": 8, "num_heads": 2}
_TOKENS, _MAP = (2, 4, 8), (2, 4, 4, 8)

# type: parameters, shapes of the inputs
SMALL = {
    "anchor": (_HEADS, [_TOKENS]),
    "capsule_routing": ({"num_heads": 2}, [_TOKENS]),
    "cbam": ({"channels": 8, "ratio": 2, "kernel_size": 3}, [_MAP]),
    "channel": ({"channels": 8, "ratio": 2}, [_MAP]),
    "decoder": (
        {
            **_HEADS,
            "num_kv_heads": 1,
            "max_seq_len": 8,
            "use_sinks": True,
            "qk_norm_type": "rms_norm",
        },
        [_TOKENS],
    ),
    "differential": ({**_HEADS, "head_dim": 4}, [_TOKENS]),
    "energy": (_HEADS, [_TOKENS]),
    "fnet": ({}, [_TOKENS]),
    "forgetting": (_HEADS, [_TOKENS]),
    "gated": ({**_HEADS, "num_kv_heads": 1, "max_seq_len": 8}, [_TOKENS]),
    "group_query": ({**_HEADS, "num_kv_heads": 1, "max_seq_len": 8}, [_TOKENS]),
    "hopfield": ({"num_heads": 2, "key_dim": 4, "update_steps_max": 1}, [_TOKENS]),
    "joint": (_HEADS, [_TOKENS, (2, 3, 6)]),
    "linear": (_HEADS, [_TOKENS]),
    "mobile_mqa": (_HEADS, [_MAP]),
    "multi_head": (_HEADS, [_TOKENS]),
    "multi_head_cross": (_HEADS, [_TOKENS, (2, 3, 8)]),
    "multi_head_latent": (
        {
            **_HEADS,
            "kv_latent_dim": 4,
            "qk_nope_head_dim": 4,
            "qk_rope_head_dim": 2,
            "v_head_dim": 3,
        },
        [_TOKENS],
    ),
    "neighborhood": ({**_HEADS, "kernel_size": 3, "grid_width": 2}, [_TOKENS]),
    "non_local": ({"attention_channels": 8, "kernel_size": 3}, [_MAP]),
    "perceiver": (_HEADS, [_TOKENS, (2, 3, 8)]),
    "performer": ({**_HEADS, "nb_features": 8}, [_TOKENS]),
    "ring": ({**_HEADS, "block_size": 2}, [_TOKENS]),
    "rpc": (_HEADS, [_TOKENS]),
    "shared_weights_cross": (_HEADS, [_TOKENS]),
    "single_window": ({**_HEADS, "window_size": 2}, [_TOKENS]),
    "spatial": ({"kernel_size": 3}, [_MAP]),
    "talking_heads": (_HEADS, [_TOKENS]),
    "vit": ({**_HEADS, "grid_height": 2, "grid_width": 2}, [_TOKENS]),
    "window": ({**_HEADS, "window_size": 2}, [_TOKENS]),
}
OPTIONS = {"shared_weights_cross": {"split_sizes": [2, 2]}}
MASKED = [
    t for t in SMALL if any(p["mask"] and p["shapes"] for p in attn.types.schema(t)["inputs"])
]


def make(
    attention_type: str, dtype: torch.dtype = torch.float32, seed: int = 0
) -> attn.torch.Module:
    torch.manual_seed(seed)
    module = attn.torch.Module(attention_type, **SMALL[attention_type][0]).to(dtype)
    module(*inputs(attention_type, dtype), **OPTIONS.get(attention_type, {}))  # shapes of lazy ones
    return module.eval()


def inputs(
    attention_type: str, dtype: torch.dtype = torch.float32, seed: int = 1
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=dtype) for s in SMALL[attention_type][1]]


def mask_for(attention_type: str, given: list[torch.Tensor]) -> torch.Tensor:
    """A mask over the keys in which every row keeps one."""
    words = next(p["shapes"] for p in attn.types.schema(attention_type)["inputs"] if p["mask"])
    keys = given[-1].shape[1] if given[-1].ndim == 3 else given[-1].shape[1] * given[-1].shape[2]
    assert any(w in ("(batch, key)", "(batch, seq)") for w in words)
    mask = torch.ones(2, keys, dtype=torch.bool)
    mask[1, keys // 2 :] = False
    return mask
