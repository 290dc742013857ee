# SPDX-License-Identifier: Apache-2.0
"""Peers of peers_decoders.py: the attention modules of transformers, with the attention functions that they offer.

A peer is a function without arguments that makes step(i). Decoding uses the cache that generate() uses.
"""

import torch
from torch.nn.attention.flex_attention import create_block_mask
from transformers import DeepseekV3Config, DynamicCache, GptOssConfig, LlamaConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention
from transformers.models.llama.modeling_llama import LlamaAttention

from peers_decoders import angles

# attn's names of the weights of multi_head_latent; the others have one letter.
NAMES = {"uq": "q_proj", "dkv": "kv_a_proj_with_mqa", "ukv": "kv_b_proj"}


def module_of(w, attention):
    c = w["config"]
    common = dict(
        hidden_size=c["dim"],
        num_attention_heads=c["num_heads"],
        num_hidden_layers=1,
        max_position_embeddings=c["max_seq_len"],
    )
    if w["type"] == "multi_head_latent":
        kind, config = DeepseekV3Attention, DeepseekV3Config(
            **common,
            num_key_value_heads=c["num_heads"],
            q_lora_rank=None,
            kv_lora_rank=c["kv_latent_dim"],
            qk_nope_head_dim=c["qk_nope_head_dim"],
            qk_rope_head_dim=c["qk_rope_head_dim"],
            v_head_dim=c["v_head_dim"],
        )
    else:
        common.update(head_dim=c["head_dim"], num_key_value_heads=c["num_kv_heads"])
        if "window" in c:
            common.update(sliding_window=c["window"], layer_types=["sliding_attention"])
            kind, config = GptOssAttention, GptOssConfig(**common, attention_bias=True)
        else:
            kind, config = LlamaAttention, LlamaConfig(**common)
    config._attn_implementation = attention
    return kind(config, 0).eval()


def load(module, weights):
    own = dict(module.named_parameters())
    for name, value in weights.items():
        name = name.removeprefix("w_").replace("kernel", "weight").replace("/", ".")
        first, _, rest = name.partition(".")
        if first == "kv_norm":
            target = own.pop("kv_a_layernorm.weight")
        elif first == "sinks":
            target = own.pop("sinks")
        else:
            target = own.pop("%s.%s" % (NAMES.get(first, first + "_proj"), rest))
        value = torch.from_numpy(value)
        with torch.no_grad():
            target.copy_(value.T if rest == "weight" else value)
    assert not own, "without a value: " + ", ".join(own)


def peers_of(w, r):
    c, n, prompt = w["config"], r.x.shape[1], r.prompt
    positions = prompt + w["call"].get("steps", n)
    turned = c.get("qk_rope_head_dim") or c.get("head_dim", 0)
    cos, sin = angles(positions, turned, c.get("rope_theta", 10000.0))
    # gpt-oss takes an angle for each pair, the others for each component.
    halves = 1 if "window" in c else 2
    cos, sin = (torch.from_numpy(t).repeat(1, halves)[None] for t in (cos, sin))
    x = torch.from_numpy(r.x)
    rule = lambda b, h, q, k: (k <= q) & (q - k < c["window"])

    def prepare(attention, mask):
        module, cache = module_of(w, attention), DynamicCache() if prompt else None
        load(module, r.weights)

        def call(first, last, at):
            angle = (cos[:, at : at + last - first], sin[:, at : at + last - first])
            with torch.inference_mode():
                return module(x[:, first:last], angle, attention_mask=mask, cache=cache)[0]

        def step(i):
            if not prompt:
                return call(0, n, 0)
            layer = cache.layers[0] if i == 0 else None
            if layer:
                layer.keys, layer.values = layer.keys[:, :, :prompt], layer.values[:, :, :prompt]
            return call(prompt, n, prompt + i)

        if prompt:
            call(0, prompt, 0)
        return step

    if w["type"] in ("neighborhood", "group_query"):
        return {}  # no module: the mask of packed documents would have all pairs
    if "window" not in c:
        return {"transformers_sdpa": lambda: prepare("sdpa", None)}
    i = torch.arange(n)
    keep = (i <= i[:, None]) & (i[:, None] - i < c["window"])
    bias = torch.zeros(n, n).masked_fill_(~keep, float("-inf"))[None, None]
    blocks = create_block_mask(rule, None, None, n, n, device="cpu")
    return {
        "transformers_eager": lambda: prepare("eager", bias),
        "transformers_flex": lambda: prepare("flex_attention", blocks),
    }
