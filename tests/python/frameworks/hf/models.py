# SPDX-License-Identifier: Apache-2.0
"""Small random models of several families, each with eager attention and with ours."""

from __future__ import annotations

import copy

import torch
import transformers

import attn.hf

attn.hf.register()

_COMMON = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}

DECODERS = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "mistral": ("MistralConfig", {"sliding_window": 4, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 4, "attn_logit_softcapping": 2.0}),
    "gpt_oss": (
        "GptOssConfig",
        {"head_dim": 8, "sliding_window": 4, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}


def pair(name: str, **more) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same decoder with eager attention and with ours."""
    config_class, own = DECODERS[name]
    config = getattr(transformers, config_class)(**{**_COMMON, **own, **more})
    torch.manual_seed(0)
    eager = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for parameter in eager.parameters():  # scores far from 0, so that caps and sinks matter
            parameter.normal_(std=0.3)
    ours = copy.deepcopy(eager)
    ours.set_attn_implementation("attn")
    assert ours.config._attn_implementation == "attn"
    return eager, ours


def ragged(padding: str = "left", lengths: tuple[int, ...] = (9, 3, 6)) -> dict[str, torch.Tensor]:
    """Tokens and mask of several sequences, padded to the longest."""
    generator = torch.Generator().manual_seed(5)
    longest = max(lengths)
    tokens = torch.zeros(len(lengths), longest, dtype=torch.long)
    mask = torch.zeros(len(lengths), longest, dtype=torch.long)
    for row, n in enumerate(lengths):
        place = slice(longest - n, None) if padding == "left" else slice(0, n)
        tokens[row, place] = torch.randint(2, 60, (n,), generator=generator)
        mask[row, place] = 1
    return {"input_ids": tokens, "attention_mask": mask}
