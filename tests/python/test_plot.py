# SPDX-License-Identifier: Apache-2.0
"""attn.plot: pictures of calls, from the renderer of ``attn map``."""

import json
import re

import attn
import numpy as np
import pytest


@pytest.fixture
def layer():
    attn.set_seed(1)
    return attn.MultiHeadAttention(dim=16, num_heads=4)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 6, 16)).astype("f")


def test_formats(layer, x, tmp_path):
    picture = attn.plot(layer, x, labels=["the", "cat", "sat", "on", "a", "mat"])
    assert picture.png.startswith(b"\x89PNG")
    assert picture._repr_svg_() == picture.svg and picture.svg.startswith("<svg")
    assert ">cat<" in picture.svg and "head 3" in picture.svg
    assert picture.html.startswith("<!DOCTYPE html>") and picture.svg in picture.html
    for name, content in (("a.png", picture.png), ("a.svg", picture.svg), ("a.html", picture.html)):
        picture.save(tmp_path / name)
        written = (tmp_path / name).read_bytes()
        assert written == (content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="ends in .png, .svg or .html"):
        picture.save(tmp_path / "a.jpg")
    assert repr(picture).startswith("<attn.Picture ")


def test_values_are_those_of_the_map(layer, x):
    html = attn.plot(layer, x, heads=2, queries=slice(1, 3), keys=slice(0, 4), row=1).html
    weights = layer.attention_map(x, heads=2, queries=slice(1, 3), keys=slice(0, 4))[1, 0]
    fields = json.loads(re.search(r"const fields = (.*);\n", html)[1])
    values = [f["values"] for f in fields if len(f["values"]) == 8]
    np.testing.assert_allclose(values, [weights.ravel()], rtol=1e-3)
    assert "head 2" in html and "head 0" not in html


def test_other_observables_and_two_layers(layer, x):
    rows = attn.plot(layer, x, show=["entropy", "column_mass"]).svg
    assert "nats" in rows and "head 0" not in rows
    both = attn.plot(layer, x, compare=attn.FNetFourierTransform()).svg
    assert "multi_head" in both and "spectrum" in both
    assert "over the grid" in attn.plot(layer, x, grid=(2, 3), query=4).svg


def test_all_types(each):
    assert attn.plot(each.layer(), *each.inputs, **each.arguments).png


def test_refusals(layer, x):
    for wishes, text in (
        ({"row": 2}, "row: there is no row 2"),
        ({"labels": ["a"]}, "labels: 1 label for 6 positions"),
        ({"grid": (5, 5)}, "grid: no map of this call"),
        ({"show": "entropi"}, "has no 'entropi' to observe"),
    ):
        with pytest.raises(attn.InvalidArgument, match=text):
            attn.plot(layer, x, **wishes)
    for index in ([1, 2], slice(0, 4, 2), -1, slice(3, 3)):
        with pytest.raises(ValueError, match="heads must be an index or a slice"):
            attn.plot(layer, x, heads=index)
