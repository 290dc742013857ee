# SPDX-License-Identifier: Apache-2.0
"""attn.schema() against the checks of the library: the golden cases of the factory, and every parameter with all kinds
of values. The schema refuses nothing that the library takes, and takes what the library refuses only where the standard
has no words for the reason."""

from __future__ import annotations

import collections
import json
import logging
import re
from typing import Any

import pytest
from conftest import SOURCE, example
from jsonschema import Draft202012Validator
from test_factory import CASES, refusal

import attn

SCHEMA = attn.schema()
LAYER = Draft202012Validator(SCHEMA)

# What the standard cannot say: the texts of the refusals, by kind.
UNSAID = {
    "8.0 is an integer to the standard": r"must be an integer( or null| or a list of integers|"
    r" or a pair of integers( or null)?|, or two or three integers)?(, got .*)?$",
    "divisors above 64": r"divisible by \w+ \((6[5-9]|[7-9]\d|\d{3,})\)$",
    "rules that are functions": r"conflicts with probability_type|for feature_map|where head_dim is null"
    r"|has no effect here, only|need probabilities over the keys|pairs of a head"
    r"|must have a number for each of|\) must be even|needs num_prefix_tokens|more than a quarter of|must be at most num_axes",
    "the language of score programs": r"^(score|mask_rule):1:1: |is read by no text",
    "claims of some configurations alone": r"but its condition is kept by no call of this config",
    "axes that are the same with another sign": r"must not name an axis twice",
    "which option is the larger one": r"must (not be below|keep) ",
}
# By kind: golden cases of the factory, and the values tried below.
GOLDEN = {"8.0 is an integer to the standard": 2, "rules that are functions": 2}

VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 7, 64, 65, -1, -4, 2**63, 2**64, -(2**63) - 1, 0.5, 1.5, -0.25, 2.0, "", "x",
    "a/b", "SoftMax", "sparsemax", "adaptive", "thresh_max", "layer_norm", "layer", "relu", "linear", "squash", "zeros",
    "constant", "HeNormal", "l2", "matrix", "positive", [], [3], [3, 3], [3, 0], [1, 2, 3], [1.5, 2], ["causal"], {},
    {"axis": -1}, {"axis": 0}, {"axis": [-1, -2]}, {"axis": [1, 1]}, {"axis": [-1, 3]}, {"axis": 7}, {"epsilon": 1e-3}, {"epsilon": 0},
    {"slope": 3.0}, {"form": "paper"}, {"form": "paper", "eps": 0.1}, {"form": "paper", "eps": None}, {"eps": 1e-6},
    {"min_temp": 2.0, "max_temp": 1.0}, {"polynomial_coeffs": [1, 2.0]}, {"polynomial_coeffs": ["a"]},
    {"center": False}, {"beta_constraint": {}}, {"gamma_initializer": "ones", "trainable": False},
    {"gamma_initializer": None}, {"dtype": "float64"}, {"negative_slope": 0.1}, {"negative_slope": -1}, {"k": 2},
    {"class_name": "Zeros"}, {"class_name": "zeros", "config": {}}, {"class_name": "Constant"},
    {"class_name": "Constant", "config": {"value": 1}}, {"class_name": "L2", "config": {"l2": -1}},
    {"class_name": "L1L2", "config": None, "module": 1}, {"class_name": 5}, {"class_name": "Zeros", "x": 1},
    {"class_name": "RandomNormal", "config": {"stddev": 0.1, "seed": -5}},
    {"class_name": "RandomUniform", "config": {"minval": 1.0}},
    {"class_name": "OrthogonalRegularizer", "config": {"mode": "columns"}},
    {"slope_constraint": {"class_name": "ValueRangeConstraint", "config": {"min_value": 0.5}}},
    {"slope_constraint": "ValueRangeConstraint"},
]  # fmt: skip
OPTIONS = [v for v in VALUES if isinstance(v, dict) and "class_name" not in v]
# What an options object belongs to, so that each is tried beside each.
OWNERS = {
    "probability_type": ["softmax", "Sparsemax", "threshmax", "adaptive"],
    "qk_norm_type": [None, "layer_norm", "band_rms", "batch_norm", "logit_norm", "energy_layer_norm"],
    "normalization": ["batch", "layer", "rms_norm"],
    "gate_activation_type": [None, "sigmoid", "relu", "relu_k", "adaptive_softmax", "thresh_max", "squash"],
    "output_activation": [None, "relu", "xatlu", "differentiable_step"],
    "use_adaptive_softmax": [True, False],
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def kind_of(text: str) -> str:
    for kind, pattern in UNSAID.items():
        if re.search(pattern, text):
            return kind
    return text


def has_whole_float(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(has_whole_float, value))
    return isinstance(value, float) and value.is_integer()


def disagreement(config: Any) -> str:
    """The kind of a refusal that the schema does not have; "" where both agree."""
    text = refusal(attn.create_attention_from_config, config)
    if text == "":
        errors = [e.message for e in LAYER.iter_errors(config)]
        assert not errors, (config, errors)
        return ""
    return kind_of(text) if LAYER.is_valid(config) else ""


def test_it_is_a_schema_and_always_the_same():
    Draft202012Validator.check_schema(SCHEMA)
    assert json.dumps(attn.schema()) == json.dumps(SCHEMA)
    for name in attn.list_attention_types():
        one = attn.schema(name)
        assert one["$defs"]["layer"]["properties"]["type"]["enum"] == [name]
    with pytest.raises(attn.InvalidArgument, match="Unknown attention type 'none'"):
        attn.schema("none")


def test_golden_cases_of_the_factory():
    found: collections.Counter[str] = collections.Counter()
    tried = 0
    for case in CASES:
        config = case["config"]
        if case.get("api") != "create_attention_from_config":
            if "type" in config:
                continue  # a parameter called `type` is nothing that a file could hold beside the type
            name = {"name": case["name"]} if "name" in case else {}
            config = {"type": case["type"], **name, **config}
        kind = disagreement(config)
        assert LAYER.is_valid(config) == case["ok"] or kind in GOLDEN, (config, kind)
        found[kind] += 1
        tried += 1
    del found[""]
    assert dict(found) == GOLDEN and tried == len(CASES) - 1


@pytest.mark.parametrize("name", attn.list_attention_types())
def test_every_parameter_with_all_kinds_of_values(name):
    good, found = example(name), collections.Counter()
    parameters = [p["name"] for p in attn.types.schema(name)["parameters"]]
    assert disagreement(good) == ""
    for key in ["name", "$schema", "$require", "no_such_parameter", *parameters]:
        owners = [{}]
        for owner, choices in OWNERS.items():
            if owner in parameters and key.rsplit("_", 1)[0] in owner:
                owners += [{owner: choice} for choice in choices]
        for owner in owners:
            for value in VALUES if owner == {} else OPTIONS:
                config = {**good, **owner, key: value}
                kind = disagreement(config)
                assert kind in UNSAID or kind == "", (config, kind)
                assert kind != next(iter(UNSAID)) or has_whole_float(config), config
                found[kind] += 1
    assert found[""] > 70 * len(parameters)
    for missing in good:
        if missing != "type":
            assert disagreement({k: v for k, v in good.items() if k != missing}) == ""


def test_a_file_may_have_the_layer_under_attention():
    good = {"type": "multi_head", "dim": 64}
    assert LAYER.is_valid({"model": "mine", "attention": good})
    assert not LAYER.is_valid({"attention": {**good, "dim": 0}})
    assert not LAYER.is_valid({"model": "mine"})


def test_every_parameter_has_words_and_a_default():
    for name in attn.list_attention_types():
        own = SCHEMA["$defs"]["type-" + name]
        assert own["description"]
        for p in attn.types.schema(name)["parameters"]:
            said = own["properties"][p["name"]]
            assert said["description"] and p["required"] == ("default" not in said)
            assert p["required"] or said["default"] == p["default"]


def test_the_schemas_of_configs_in_the_tree():
    for path in [
        *SOURCE.glob("host/examples/*/*.json"),
        *SOURCE.glob("host/examples/*/configs/*.json"),
    ]:
        config = json.loads(path.read_text())
        if isinstance(config, dict) and ("type" in config or "attention" in config):
            assert LAYER.is_valid(config), path
