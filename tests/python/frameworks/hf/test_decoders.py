# SPDX-License-Identifier: Apache-2.0
"""Causal decoders with grouped heads: windows, soft caps, sinks, padding, caches, generation, training."""

from __future__ import annotations

import pytest
import torch
from models import DECODERS, pair, ragged


def assert_logits(eager, ours, batch, tolerance=1e-5):
    """Where a token is; what stands at padding means nothing. Relative to the largest logit."""
    with torch.no_grad():
        expected, got = eager(**batch).logits, ours(**batch).logits
    real = batch["attention_mask"].bool()
    assert torch.isfinite(got).all()
    difference = (got - expected)[real].abs().max() / expected[real].abs().max()
    assert difference <= tolerance, difference


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", DECODERS)
def test_logits(name, padding):
    assert_logits(*pair(name), ragged(padding))


@pytest.mark.parametrize("name", DECODERS)
def test_logits_without_padding(name):
    assert_logits(*pair(name), ragged(lengths=(9, 9)))


def test_the_comparison_sees_differences():
    eager, ours = pair("gemma2")
    with torch.no_grad():
        ours.model.layers[1].self_attn.attn_logit_softcapping = None
    with pytest.raises(AssertionError):
        assert_logits(eager, ours, ragged())


@pytest.mark.parametrize("cache", ["dynamic", "static", None])
@pytest.mark.parametrize("name", DECODERS)
def test_generate(name, cache):
    eager, ours = pair(name)
    options = {"max_new_tokens": 8, "do_sample": False, "use_cache": cache is not None}
    if cache == "static":
        options["cache_implementation"] = "static"
        options["disable_compile"] = True
    expected = eager.generate(**ragged(), **options)
    assert torch.equal(ours.generate(**ragged(), **options), expected)
    assert len(set(expected[:, 9:].flatten().tolist())) > 2


def test_generate_in_steps_of_beams():
    eager, ours = pair("llama")
    options = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False}
    assert torch.equal(ours.generate(**ragged(), **options), eager.generate(**ragged(), **options))


def test_chunked_prefill():
    """Two calls over one cache: queries that do not begin at place 0."""
    eager, ours = pair("llama")
    batch = ragged(lengths=(9, 9))
    with torch.no_grad():
        expected = eager(**batch).logits[:, 5:]
        first = ours(batch["input_ids"][:, :5], use_cache=True)
        rest = ours(batch["input_ids"][:, 5:], cache=first.past_key_values)
    assert (rest.logits - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_gradients(name):
    eager, ours = pair(name)
    batch = ragged("right")  # the last place before the tokens would be part of the loss
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for model in (eager, ours):
        model(**batch, labels=labels).loss.backward()
    for (path, a), b in zip(eager.named_parameters(), ours.parameters()):
        if a.grad is None:
            assert b.grad is None, path
            continue
        # Three blocks of float32 sums; a gradient that cancels is compared with the size of its terms.
        assert (a.grad - b.grad).abs().max() <= 1e-4 * max(a.grad.abs().max(), 1e-2), path
    if name == "gpt_oss":
        assert any(p.grad.abs().max() > 0 for n, p in ours.named_parameters() if "sinks" in n)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    eager, ours = pair("llama")
    batch, real = ragged(), ragged()["attention_mask"].bool()
    with torch.no_grad():
        exact = eager(**batch).logits[real]
        errors = [
            (m.to(dtype)(**batch).logits[real].float() - exact).abs().mean() for m in (eager, ours)
        ]
    assert errors[1] <= 1.2 * errors[0]  # ours accumulates in float32, eager rounds in between


def test_compiled():
    eager, ours = pair("llama")
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    assert_logits(eager, compiled, ragged())
    assert_logits(eager, compiled, ragged(lengths=(11, 4)))
