# SPDX-License-Identifier: Apache-2.0
"""The factory's golden cases: what is accepted, refused with which text, logged and told."""

from __future__ import annotations

import json
import logging
import typing

import numpy as np
import pytest
from goldens import GOLDENS

import attn

CASES = json.loads((GOLDENS / "factory.json").read_text())
LOGS = json.loads((GOLDENS / "factory_logs.json").read_text())
INFO = json.loads((GOLDENS / "factory_info.json").read_text())


def refusal(call, *args, **kwargs) -> str:
    """The text of the ValueError; "" where there is none."""
    try:
        call(*args, **kwargs)
    except ValueError as error:
        assert isinstance(error, attn.InvalidArgument)
        return str(error)
    return ""


def test_there_are_cases():
    assert len(CASES) > 200 and len(LOGS) == 10 and len(INFO) == 20


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_case(case):
    config, expected = case["config"], case["error"] or ""
    assert case["ok"] == (expected == "")
    if case.get("api") == "create_attention_from_config":
        assert refusal(attn.create_attention_from_config, config) == expected
        return
    before = json.dumps(config)
    if "name" not in case and "type" not in config and "name" not in config:
        assert refusal(attn.validate_attention_config, case["type"], **config) == expected
        if case["type"] in attn.types:
            assert refusal(attn.types[case["type"]], **config) == expected
    if "type" in config or "name" in config:
        return  # a keyword of the function itself; below as a whole configuration
    name = {"name": case["name"]} if "name" in case else {}
    assert refusal(attn.create_attention_layer, case["type"], **name, **config) == expected
    whole = {"type": case["type"], **name, **config}
    assert refusal(attn.create_attention_from_config, whole) == expected
    assert json.dumps(config) == before


@pytest.mark.parametrize("case", LOGS, ids=range(len(LOGS)))
def test_log(case, caplog):
    with caplog.at_level(logging.INFO, logger="attn"):
        refusal(attn.create_attention_layer, case["type"], name=case["name"], **case["config"])
    lines = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert lines == [(case["level"], case["message"])]


def test_validation_and_classes_write_no_lines(caplog):
    with caplog.at_level(logging.INFO, logger="attn"):
        attn.validate_attention_config("cbam", channels=64)
        attn.CBAM(channels=64)
        refusal(attn.validate_attention_config, "cbam")
    assert caplog.records == []


@pytest.mark.parametrize("name", INFO)
def test_info(name):
    got, expected = attn.get_attention_info()[name], INFO[name]
    for key in ("type", "class", "input_shape", "required_params", "optional_params", "aliases"):
        assert got[key] == expected[key], key
    for key in ("required_params", "optional_params", "aliases"):
        assert list(got[key]) == list(expected[key]), key
    for key in ("description", "use_case", "complexity", "paper"):
        assert got[key], key
    assert attn.get_attention_requirements(name) == got


def test_info_is_a_copy():
    attn.get_attention_info()["cbam"]["required_params"].append("x")
    assert attn.get_attention_info()["cbam"]["required_params"] == ["channels"]


def test_list_and_attention_type():
    names = attn.list_attention_types()
    assert names == sorted(names) and set(INFO) <= set(names)
    assert typing.get_args(attn.AttentionType) == tuple(names)


def test_automatic_names():
    first = attn.CBAM(channels=64).name
    second = attn.CBAM(channels=64).name
    assert first.split("_")[0] == "cbam" and first != second
    assert attn.CBAM(channels=64, name="mine").name == "mine"


def test_parts_of_the_message():
    with pytest.raises(attn.InvalidArgument) as caught:
        attn.create_attention_layer("multi_head", dim=-1)
    error = caught.value
    assert (error.type, error.parameter, error.value) == ("multi_head", "dim", "-1")
    with pytest.raises(attn.InvalidArgument) as caught:
        attn.create_attention_layer("multi_hed", dim=64)
    assert "multi_head" in caught.value.hint


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, b"8"])
def test_values_outside_json(value):
    with pytest.raises(TypeError, match="Parameter 'dim' is of type"):
        attn.create_attention_layer("multi_head", dim=value)


def test_numbers_of_numpy_and_of_any_size():
    layer = attn.MultiHeadAttention(
        dim=np.int64(64), num_heads=np.int32(4), use_bias=np.bool_(True)
    )
    assert layer.get_config()["dim"] == 64 and layer.get_config()["use_bias"] is True
    assert (
        refusal(attn.PerformerAttention, dim=64, seed=2**64)
        == "Parameter 'seed' must be below 2^64"
    )
    assert attn.PerformerAttention(dim=64, seed=2**64 - 1).get_config()["seed"] == 2**64 - 1


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
def test_texts_that_no_message_could_show(text):
    for call in (
        lambda: attn.create_attention_layer(text),
        lambda: attn.create_attention_layer("multi_head", dim=text),
        lambda: attn.create_attention_layer("multi_head", **{text: 1}),
        lambda: attn.MultiHeadAttention(dim=8)(np.ones((1, 1, 8)), **{text: 1}),
    ):
        with pytest.raises(ValueError):
            call()


def test_a_list_that_holds_itself():
    endless: list = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        attn.create_attention_layer("multi_head", dim=endless)


@pytest.mark.parametrize("config", [None, 5, "multi_head", [], object()])
def test_no_dictionary(config):
    text = refusal(attn.create_attention_from_config, config)
    assert text == "Configuration must be a dictionary"


def test_the_callers_config_is_left_alone():
    config = {"type": "cbam", "name": "a", "channels": 64}
    attn.create_attention_from_config(config)
    assert config == {"type": "cbam", "name": "a", "channels": 64}


def test_a_type_that_is_no_text():
    with pytest.raises(attn.InvalidArgument, match="Unknown attention type 'None'"):
        attn.create_attention_layer(None)
