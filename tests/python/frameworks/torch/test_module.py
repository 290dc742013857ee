# SPDX-License-Identifier: Apache-2.0
"""What users of torch expect of a module: parameters, state_dict, optimizers, copies, dtypes, threads, refusals."""

from __future__ import annotations

import copy
import io
import pickle
import threading

import pytest
import torch
from cases import OPTIONS, SMALL, inputs, make
from torch.nn.parameter import UninitializedParameter

import attn
import attn.torch

LAZY = ["capsule_routing", "hopfield", "non_local"]


def in_place(module: attn.torch.Module) -> bool:
    """Whether the parameters are the memory of the layer that runs the calls."""
    layer = module.layer
    return all(
        module.get_parameter(w.name.replace("/", ".")).data_ptr()
        == layer.weights[w.name].ctypes.data
        for w in layer.weights.info()
        if w.trainable
    )


@pytest.mark.parametrize("attention_type", SMALL)
def test_parameters_from_the_beginning(attention_type):
    module = attn.torch.Module(attention_type, **SMALL[attention_type][0])
    before = dict(module.named_parameters())
    assert any(isinstance(p, UninitializedParameter) for p in before.values()) == (
        attention_type in LAZY
    )
    module(*inputs(attention_type), **OPTIONS.get(attention_type, {}))
    after = dict(module.named_parameters())
    assert list(before) == list(after) and all(before[n] is after[n] for n in after)
    infos = module.layer.weights.info()
    assert {w.name.replace("/", "."): w.shape for w in infos if w.trainable} == {
        n: tuple(p.shape) for n, p in after.items()
    }
    assert {w.name.replace("/", ".") for w in infos if not w.trainable} == {
        n for n, _ in module.named_buffers()
    }
    assert in_place(module)


@pytest.mark.parametrize("attention_type", SMALL)
def test_state_dict(attention_type):
    one, two = make(attention_type, seed=0), make(attention_type, seed=1)
    given, options = inputs(attention_type), OPTIONS.get(attention_type, {})
    if list(one.parameters()):
        assert not torch.equal(one(*given, **options), two(*given, **options))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two.load_state_dict(torch.load(file))
    assert torch.equal(one(*given, **options), two(*given, **options)) and in_place(two)
    new = attn.torch.Module(attention_type, **SMALL[attention_type][0]).eval()
    new.load_state_dict(one.state_dict())  # before its first call
    assert torch.equal(one(*given, **options), new(*given, **options)) and in_place(new)
    new.load_state_dict({n: v * 2 for n, v in one.state_dict().items()}, assign=True)
    new.load_state_dict(one.state_dict(), assign=True)
    assert torch.equal(one(*given, **options), new(*given, **options))


def test_wrong_state_dicts():
    module = make("multi_head")
    values = module.state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict({**values, "cross_attention.proj.kernel": torch.zeros(3, 3)})
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict({})
    lazy = attn.torch.Module("hopfield", num_heads=2, key_dim=4)
    lazy.load_state_dict(make("hopfield").state_dict())
    with pytest.raises(
        attn.InvalidArgument, match=r"query_dense/kernel has shape \(8, 8\); expected \(6, 8\)"
    ):
        lazy(torch.randn(1, 3, 6))
    assert lazy(torch.randn(1, 3, 8)).shape == (1, 3, 8)


@pytest.mark.parametrize("attention_type", ["multi_head", "hopfield"])
def test_optimizer_step(attention_type):
    torch.manual_seed(0)
    module = attn.torch.Module(attention_type, **SMALL[attention_type][0])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)  # before the shapes are known
    (x,) = inputs(attention_type)
    module(x).square().sum().backward()
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    optimizer.step()
    for name, p in module.named_parameters():
        torch.testing.assert_close(p, before[name] - 0.1 * p.grad, rtol=1e-6, atol=1e-6)
    by_hand = make(attention_type)
    by_hand.load_state_dict(module.state_dict())
    assert torch.equal(module.eval()(x), by_hand(x)) and in_place(module)


def test_copies():
    module = make("non_local")
    (x,) = inputs("non_local")
    y = module(x)
    file = io.BytesIO()
    torch.save(module, file)
    old = io.BytesIO()
    torch.save(module, old, _use_new_zipfile_serialization=False)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    for f in (file, old):
        f.seek(0)
        copies.append(torch.load(f, weights_only=False))
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    for other in copies:
        assert torch.equal(other(x), y) and in_place(other)
        assert not {p.data_ptr() for p in other.parameters()} & {
            p.data_ptr() for p in module.parameters()
        }
    lazy = copy.deepcopy(attn.torch.Module("hopfield", num_heads=2, key_dim=4))
    assert lazy(torch.randn(1, 3, 8)).shape == (1, 3, 8)


def test_parameters_elsewhere():
    """Memory that is not the layer's is used as it is, and stays the caller's."""
    module, other = make("multi_head", seed=0), make("multi_head", seed=1)
    (x,) = inputs("multi_head")
    expected = other(x)
    for mine, theirs in zip(module.parameters(), other.parameters()):
        mine.data = theirs.detach().clone()
    mine.data = mine.data.t().contiguous().t()  # the same numbers, other strides
    assert not in_place(module) and (module(x) - expected).abs().max() <= 1e-6
    with torch.no_grad():
        mine.zero_()
    assert not torch.equal(module(x), expected)
    module.share_memory()
    places = [p.data_ptr() for p in module.parameters()]
    module(x)
    assert all(p.is_shared() for p in module.parameters()) and places == [
        p.data_ptr() for p in module.parameters()
    ]


def test_one_memory_two_modules():
    one, two = make("multi_head", seed=0), make("multi_head", seed=1)
    for path in ("qkv", "proj"):
        two.get_submodule(f"cross_attention.{path}").kernel = one.get_submodule(
            f"cross_attention.{path}"
        ).kernel
    (x,) = inputs("multi_head")
    with torch.no_grad():
        two.cross_attention.proj.kernel.mul_(2)
    assert torch.equal(one(x), two(x))


def test_parametrization():
    module = make("multi_head")
    (x,) = inputs("multi_head")
    expected = module(x)
    torch.nn.utils.parametrizations.weight_norm(module.cross_attention.proj, "kernel")
    assert (module(x) - expected).abs().max() <= 1e-6
    module(x).sum().backward()
    with torch.no_grad():
        module.cross_attention.proj.parametrizations.kernel.original0.mul_(2)
    assert (module(x) - 2 * expected).abs().max() <= 1e-5
    assert (module.double()(x.double()) - 2 * expected).abs().max() <= 1e-5


def test_dtypes():
    module = make("multi_head")
    (x,) = inputs("multi_head")
    y = module(x)
    assert module.double()(x.double()).dtype == torch.float64 and in_place(module)
    assert module.layer.dtype == "float64"
    assert (
        torch.equal(module.float()(x), y) and in_place(module) and module.layer.dtype == "float32"
    )
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in attn.torch.Module("multi_head", dim=8).parameters()} == {
            torch.float64
        }
    finally:
        torch.set_default_dtype(torch.float32)


def test_initial_values_follow_torch():
    a, b, c = (make("multi_head", seed=s).cross_attention.qkv.kernel for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_statistics_change_in_training_alone():
    module = make("non_local")
    x = inputs("non_local")[0]
    before = {n: b.clone() for n, b in module.named_buffers()}
    assert before
    module(x)
    assert all(torch.equal(b, before[n]) for n, b in module.named_buffers())
    module.train()(x).sum().backward()
    after = {n: b.clone() for n, b in module.named_buffers()}
    assert all(not torch.equal(b, before[n]) for n, b in after.items())
    module.load_state_dict({**module.state_dict(), **before})
    module(x)  # from the loaded ones again
    assert all(torch.equal(b, after[n]) for n, b in module.named_buffers())
    assert all(
        torch.equal(torch.from_numpy(module.layer.weights[n.replace(".", "/")]), b)
        for n, b in after.items()
    )


def test_threads():
    module = make("group_query")
    given = [inputs("group_query", seed=s)[0] for s in range(8)]

    def work(x):
        y = module(x.clone().requires_grad_())
        return y.detach(), torch.autograd.grad(y.square().sum(), list(module.parameters()))

    expected = [work(x) for x in given]
    wrong: list[int] = []

    def run(i):
        for _ in range(20):
            y, slopes = work(given[i])
            if not torch.equal(y, expected[i][0]):
                wrong.append(i)
            if not all(torch.equal(a, b) for a, b in zip(slopes, expected[i][1])):
                wrong.append(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


class _Data(torch.utils.data.Dataset):
    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 4

    def __getitem__(self, i):
        with torch.no_grad():
            return self.module(inputs("multi_head", seed=i)[0])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_in_workers_of_a_data_loader(context):
    data = _Data(make("multi_head"))
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, num_workers=2, multiprocessing_context=context
    )
    found = torch.cat(list(loader))
    assert torch.equal(found, torch.stack([data[i] for i in range(4)]))


def test_memory_of_calls_without_backward():
    """A recorded call whose graph is gone leaves nothing behind."""
    from attn import _torch_op

    module = make("multi_head")
    (x,) = inputs("multi_head")
    before = len(_torch_op._records)
    kept = [module(x) for _ in range(5)]
    assert len(_torch_op._records) == before + 5
    del kept
    assert len(_torch_op._records) == before
    with torch.no_grad():
        module(x)
    assert len(_torch_op._records) == before


def test_refusals():
    module = make("multi_head")
    (x,) = inputs("multi_head")
    with pytest.raises(attn.InvalidArgument, match="kernel_regularizer is set; expected None"):
        attn.torch.Module("multi_head", dim=8, kernel_regularizer="l2")
    with pytest.raises(attn.InvalidArgument, match="Unknown attention type"):
        attn.torch.Module("multi_hed", dim=8)
    for word in ("seed", "state", "training"):
        with pytest.raises(
            attn.InvalidArgument, match=f"argument '{word}' is not one of a module; use|decode"
        ):
            module(x, **{word: 1})
    with pytest.raises(TypeError, match="input 'inputs' must be a torch.Tensor"):
        module(x.numpy())
    with pytest.raises(attn.InvalidArgument, match="set more than once"):
        module(x, inputs=x)
    with pytest.raises(attn.InvalidArgument, match="3 inputs given; expected at most 2"):
        module(x, x, x)
    with pytest.raises(TypeError, match="argument 'use_causal_mask' is of type Tensor"):
        module(x, use_causal_mask=torch.ones(()))
    with pytest.raises(TypeError, match="'use_casual_mask'.* did you mean 'use_causal_mask'"):
        module(x, use_casual_mask=True)
    with pytest.raises(TypeError, match="no keyword 'input'.* did you mean 'inputs'"):
        module(input=x)
    with pytest.raises(ValueError):
        module(torch.randn(2, 4, 9))
    with pytest.raises(attn.InvalidArgument, match="already built"):
        module.build((2, 4, 8))
    assert torch.equal(module(x), module(x))


def test_other_devices():
    from torch._subclasses.fake_tensor import FakeTensorMode

    module = make("multi_head")
    with FakeTensorMode():
        with pytest.raises(
            TypeError, match="input 'inputs': on device cuda:0; expected the CPU; use tensor.cpu"
        ):
            module(torch.empty(2, 4, 8, device="cuda"))
        with pytest.raises(TypeError, match="the parameters: on device cuda:0; expected the CPU"):
            module.to("cuda")
    assert module(inputs("multi_head")[0]).shape == (2, 4, 8) and in_place(module)
    assert module(torch.empty(2, 4, 8, device="meta")).shape == (2, 4, 8)
