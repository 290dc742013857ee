# SPDX-License-Identifier: Apache-2.0
"""attn.convert with torch.nn.MultiheadAttention, timm and transformers: the same outputs, there and back the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attn

torch = pytest.importorskip("torch")
TYPES = ["multi_head", "multi_head_cross", "perceiver", "group_query", "ring", "hopfield"]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    torch.manual_seed(11)
    with torch.no_grad():
        yield


def shuffled(module: Any) -> Any:
    """Every parameter, biases and norms too, with numbers of its own."""
    for p in module.parameters():
        p.copy_(torch.randn_like(p) / 3)
    return module.eval()


def close(a: Any, b: Any) -> None:
    assert a.shape == b.shape
    assert (a - b).abs().max() <= 1e-5 * max(1.0, b.abs().max())


def same_bits(a: Any, b: Any) -> None:
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def keep_mask(*shape: int) -> Any:
    mask = torch.rand(shape) > 0.3
    mask[..., 0] = True
    return mask


def mha(**options: Any) -> Any:
    options = {"batch_first": True, "dropout": 0.25, **options}
    return shuffled(torch.nn.MultiheadAttention(24, 4, **options))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("type", [None, *TYPES])
def test_multihead_self(type: str | None, bias: bool) -> None:
    theirs = mha(bias=bias)
    ours = attn.convert(theirs, type)
    assert ours.type == (type or "multi_head_cross")
    assert ours.get_config()["dropout_rate"] == 0.25
    x = torch.randn(3, 6, 24)
    close(ours(x), theirs(x, x, x, need_weights=False)[0])
    keys, pairs = keep_mask(3, 6), keep_mask(6, 6)
    expected = theirs(x, x, x, key_padding_mask=~keys, need_weights=False)[0]
    close(ours(x, attention_mask=keys), expected)
    expected = theirs(x, x, x, attn_mask=~pairs, need_weights=False)[0]
    close(ours(x, attention_mask=pairs[None]), expected)
    same_bits(theirs, attn.convert.to(ours, mha(bias=bias)))


def test_multihead_cross_and_axes() -> None:
    theirs = mha(batch_first=False)
    ours = attn.convert(theirs)
    x, y = torch.randn(3, 6, 24), torch.randn(3, 9, 24)
    keys = keep_mask(3, 9)
    t = lambda a: a.transpose(0, 1)
    expected = theirs(t(x), t(y), t(y), key_padding_mask=~keys, need_weights=False)[0]
    close(ours(x, y, attention_mask=keys), t(expected))


@pytest.mark.parametrize("kdim, vdim", [(10, 10), (10, 14), (24, 14)])
def test_multihead_with_widths(kdim: int, vdim: int) -> None:
    theirs = mha(kdim=kdim, vdim=vdim)
    with pytest.raises(
        attn.InvalidArgument, match=r"dim \(1[04]\) must be embed_dim \(24\).*hopfield"
    ):
        attn.convert(theirs)
    ours = attn.convert(theirs, "hopfield")
    q, k, v = torch.randn(3, 6, 24), torch.randn(3, 9, kdim), torch.randn(3, 9, vdim)
    close(ours(q, k, v), theirs(q, k, v, need_weights=False)[0])
    same_bits(theirs, attn.convert.to(ours, mha(kdim=kdim, vdim=vdim)))


def test_float64_and_halves() -> None:
    theirs = mha().double()
    ours = attn.convert(theirs)
    assert ours.dtype == "float64"
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    assert (ours(x) - theirs(x, x, x, need_weights=False)[0]).abs().max() < 1e-12
    same_bits(theirs, attn.convert.to(ours, mha().double()))
    for kind in (torch.float16, torch.bfloat16):
        theirs = mha().to(kind)
        same_bits(theirs, attn.convert.to(attn.convert(theirs), mha().to(kind)))


def test_files(tmp_path: Any) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(24, 4, 32, batch_first=True), 2, enable_nested_tensor=False
    )
    shuffled(model)
    safetensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    x = torch.randn(2, 5, 24)
    theirs = model.layers[1].self_attn
    expected = theirs(x, x, x, need_weights=False)[0]
    assert attn.convert.find(model) == [("torch", f"layers.{i}.self_attn.") for i in (0, 1)]
    for source in (tmp_path / "model.safetensors", str(tmp_path / "model.pt"), model.state_dict()):
        close(attn.convert(source, prefix="layers.1", num_heads=4)(x), expected)
        with pytest.raises(attn.InvalidArgument, match="heads"):
            attn.convert(source, prefix="layers.1")
    ours = attn.convert(model, prefix="layers.1")
    close(ours(x), expected)
    with pytest.raises(attn.InvalidArgument, match="2 attention modules"):
        attn.convert(model)
    attn.convert.to(ours, model, prefix="layers.0")
    same_bits(model.layers[0].self_attn, theirs)
    tensors = attn.convert.to(ours, "torch")
    assert np.array_equal(tensors["in_proj_weight"], theirs.in_proj_weight)


def test_multihead_refusals() -> None:
    for options, text in (
        ({"add_bias_kv": True}, "bias_k.*add_bias_kv"),
        ({"add_zero_attn": True}, "add_zero_attn"),
    ):
        with pytest.raises(attn.InvalidArgument, match=text):
            attn.convert(mha(**options))
        other, before = mha(**options), None
        before = {k: v.clone() for k, v in other.state_dict().items()}
        with pytest.raises(attn.InvalidArgument, match=text):
            attn.convert.to(attn.convert(mha()), other)
        assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    ours = attn.convert(mha())
    other = shuffled(torch.nn.MultiheadAttention(24, 2))
    with pytest.raises(attn.InvalidArgument, match="num_heads is 2, the layer's is 4"):
        attn.convert.to(ours, other)
    with pytest.raises(attn.InvalidArgument, match=r"\(72, 24\)"):
        attn.convert.to(ours, torch.nn.MultiheadAttention(32, 4))
    with pytest.raises(attn.InvalidArgument, match="num_heads is 4, not 3"):
        attn.convert(mha(), num_heads=3)
    with pytest.raises(attn.InvalidArgument, match="num_headz"):
        attn.convert(mha(), num_headz=4)
    with pytest.raises(TypeError, match="expected a layer"):
        attn.convert.to(3, mha())
    with pytest.raises(attn.InvalidArgument, match="no attention"):
        attn.convert(torch.nn.Linear(3, 3))
    with pytest.raises(TypeError, match="int"):
        attn.convert(3)
    with pytest.raises(attn.InvalidArgument, match="safetensors"):
        attn.convert("weights.h5")

    class Lookalike(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_proj_weight = torch.nn.Parameter(torch.randn(72, 24))
            self.out_proj = torch.nn.Linear(24, 24)

    with pytest.raises(attn.InvalidArgument, match="Lookalike.*form='torch'"):
        attn.convert(Lookalike(), num_heads=4)
    assert attn.convert(Lookalike(), form="torch", num_heads=4).built


TIMM = [
    {},
    {"qkv_bias": True},
    {"qkv_bias": True, "proj_bias": False},
    {"qk_norm": True, "norm": "LayerNorm", "epsilon": 1e-3},
    {"qk_norm": True, "norm": "RmsNorm", "epsilon": 1e-4, "qkv_bias": True},
]


def timm_attention(norm: str = "", epsilon: float = 0.0, **options: Any) -> Any:
    layers = pytest.importorskip("timm.layers")
    if norm:
        cls = torch.nn.LayerNorm if norm == "LayerNorm" else layers.RmsNorm
        options["norm_layer"] = lambda n, **kw: cls(n, eps=epsilon, **kw)
    attention = pytest.importorskip("timm.layers.attention").Attention
    return shuffled(attention(24, num_heads=4, **options))


@pytest.mark.parametrize("options", TIMM, ids=str)
def test_timm(options: dict[str, Any]) -> None:
    theirs = timm_attention(**options)
    x = torch.randn(3, 6, 24)
    for type in (None, *TYPES):
        ours = attn.convert(theirs, type)
        close(ours(x), theirs(x))
        same_bits(theirs, attn.convert.to(ours, timm_attention(**options)))


def test_timm_model_and_refusals() -> None:
    timm = pytest.importorskip("timm")
    model = shuffled(
        timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=2, img_size=32)
    )
    x = torch.randn(2, 5, 192)
    close(attn.convert(model, prefix="blocks.1")(x), model.blocks[1].attn(x))
    for options, text in (
        ({"scale_norm": True, "norm": "LayerNorm", "epsilon": 1e-6}, "scale_norm"),
        ({"gated": True}, "gate"),
        ({"dim_out": 12}, r"output_width \(12\)"),
    ):
        with pytest.raises(attn.InvalidArgument, match=text):
            attn.convert(timm_attention(**options))
    mixed = timm_attention(qk_norm=True, norm="LayerNorm", epsilon=1e-3)
    mixed.k_norm.eps = 1e-5
    with pytest.raises(attn.InvalidArgument, match="q_norm.eps.*k_norm.eps"):
        attn.convert(mixed)
    ours = attn.convert(timm_attention(qk_norm=True, norm="LayerNorm", epsilon=1e-3))
    with pytest.raises(attn.InvalidArgument, match="qk_norm_kwargs"):
        attn.convert.to(ours, timm_attention(qk_norm=True, norm="LayerNorm", epsilon=1e-5))
    with pytest.raises(attn.InvalidArgument, match="key_norm"):
        attn.convert.to(ours, timm_attention())
    rotary = pytest.importorskip("timm.layers.attention").AttentionRope(24, num_heads=4)
    with pytest.raises(attn.InvalidArgument, match="AttentionRope"):
        attn.convert(rotary)
    narrow = timm_attention(attn_head_dim=4)
    with pytest.raises(attn.InvalidArgument, match="query_size"):
        attn.convert(narrow)
    close(attn.convert(narrow, "hopfield")(x[..., :24]), narrow(x[..., :24]))


@pytest.mark.parametrize("family", ["Bert", "Roberta", "Electra"])
def test_bert(family: str, tmp_path: Any) -> None:
    hf = pytest.importorskip("transformers")
    config = getattr(hf, f"{family}Config")(
        vocab_size=30,
        hidden_size=24,
        num_attention_heads=4,
        num_hidden_layers=2,
        intermediate_size=32,
    )
    model = shuffled(getattr(hf, f"{family}Model")(config))
    theirs = model.encoder.layer[1].attention
    x, keys = torch.randn(3, 6, 24), keep_mask(3, 6)
    additive = torch.where(keys, 0.0, torch.finfo(torch.float32).min)[:, None, None, :]
    expected = theirs.output.dense(theirs.self(x, attention_mask=additive)[0])
    ours = attn.convert(model, prefix="encoder.layer.1")
    assert ours.type == "multi_head"
    close(ours(x, attention_mask=keys), expected)
    assert attn.convert(theirs).get_config()["num_heads"] == 4
    other = shuffled(getattr(hf, f"{family}Model")(config)).encoder.layer[0].attention
    norm = other.output.LayerNorm.weight.clone()
    attn.convert.to(ours, other)
    same_bits(theirs.self, other.self)
    same_bits(theirs.output.dense, other.output.dense)
    assert torch.equal(norm, other.output.LayerNorm.weight)  # is not attention
    model.save_pretrained(tmp_path)
    file = attn.convert(tmp_path / "model.safetensors", prefix="encoder.layer.1", num_heads=4)
    close(file(x, attention_mask=keys), expected)


def test_bert_cross_attention() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.BertConfig(vocab_size=30, hidden_size=24, num_attention_heads=4, num_hidden_layers=1,
                           intermediate_size=32, is_decoder=True, add_cross_attention=True)  # fmt: skip
    model = shuffled(hf.BertModel(config))
    theirs = model.encoder.layer[0].crossattention
    x, y = torch.randn(3, 6, 24), torch.randn(3, 9, 24)
    ours = attn.convert(model, prefix="encoder.layer.0.crossattention")
    assert ours.type == "multi_head_cross"
    close(ours(x, y), theirs.output.dense(theirs.self(x, encoder_hidden_states=y)[0]))


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("family", ["ViT", "DeiT", "Dinov2"])
def test_vit(family: str, qkv_bias: bool, tmp_path: Any) -> None:
    hf = pytest.importorskip("transformers")
    config = getattr(hf, f"{family}Config")(
        hidden_size=24, num_attention_heads=4, num_hidden_layers=2, intermediate_size=32, image_size=32,
        patch_size=16, qkv_bias=qkv_bias,
    )  # fmt: skip
    model = shuffled(getattr(hf, f"{family}Model")(config))
    found = attn.convert.find(model)
    assert len(found) == 2
    theirs = model.get_submodule(found[1][1].rstrip("."))
    x = torch.randn(3, 6, 24)
    expected = theirs(x)[0] if isinstance(theirs(x), tuple) else theirs(x)
    ours = attn.convert(model, prefix=found[1][1])
    close(ours(x), expected)
    same_bits(theirs, attn.convert.to(ours, shuffled(getattr(hf, f"{family}Model")(config)), prefix=found[1][1])
              .get_submodule(found[1][1].rstrip(".")))  # fmt: skip
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    form, prefix = attn.convert.find(file)[1]
    close(attn.convert(file, form=form, prefix=prefix, num_heads=4)(x), expected)
