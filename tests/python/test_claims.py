# SPDX-License-Identifier: Apache-2.0
"""What types claim, and layers of which claims are required."""

from __future__ import annotations

import pytest

import attn


def test_claims_of_a_type():
    claims = attn.get_attention_claims("multi_head")
    assert {"claim": "causal", "condition": "use_causal_mask"}.items() <= next(
        c for c in claims if c["claim"] == "causal"
    ).items()
    assert {c["claim"] for c in attn.get_attention_claims("fnet")} >= {"linear", "homogeneous"}
    assert all(attn.get_attention_claims(name) for name in attn.list_attention_types())


def test_required_claims():
    layer = attn.create_attention_layer("multi_head", dim=8, num_heads=2, require=["causal"])
    assert "$require" not in layer.get_config()
    with pytest.raises(attn.InvalidArgument, match="is required to be 'linear'") as error:
        attn.create_attention_layer("multi_head", dim=8, num_heads=2, require=["linear"])
    assert error.value.parameter == "$require" and error.value.hint


def test_required_in_a_config():
    config = {"$schema": "s", "$require": ["causal"], "type": "multi_head", "dim": 8}
    layer = attn.create_attention_from_config(config)
    assert not {"$require", "$schema"} & layer.get_config().keys()
    assert config["$require"] == ["causal"]
    with pytest.raises(attn.InvalidArgument, match="is required to be 'linear'"):
        attn.create_attention_from_config({**config, "$require": ["linear"]})
    with pytest.raises(attn.InvalidArgument, match="is required to be 'linear'"):
        attn.create_attention_from_config(config, require=["linear"])
    with pytest.raises(attn.InvalidArgument, match="must be a list of claims"):
        attn.create_attention_from_config({**config, "$require": "causal"})
