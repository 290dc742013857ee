# SPDX-License-Identifier: Apache-2.0
"""Arrays of other packages, on their way in and out. The binding reads plain numpy arrays by itself.

No package is imported here that the caller has not imported: who has a tensor has its package.
"""

from __future__ import annotations

import array as _array
import functools
import sys
from typing import Any, Callable

import numpy as np

NUMPY, TORCH, JAX, TENSORFLOW = range(4)

_DTYPES = frozenset(
    ["float16", "float32", "float64", "bool", "uint8", "int32", "int64", "uint32", "bfloat16"]
)
_EXPECTED = "expected an array of numpy, torch, jax or tensorflow, or what has __dlpack__"

# A plain numpy array (or what has __dlpack__), what it came from, and whether its uint16 are bfloat16.
Prepared = tuple[Any, int, bool]


def prepare(array: Any, where: str) -> Prepared:
    """What the binding can read without a copy; TypeError where there is none. where: for messages."""
    if isinstance(array, (np.ndarray, np.generic)):
        return _numpy(array, where, NUMPY)
    reader = _READERS.get(type(array).__module__.partition(".")[0])
    if reader is None:
        reader = next((_READERS[name] for name in _READERS if _is_tensor(array, name)), None)
    if reader is not None:
        return reader(array, where)
    if isinstance(array, (memoryview, _array.array)):
        return _numpy(np.asarray(array), where, NUMPY)
    if hasattr(array, "__dlpack__"):
        if hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) != 1:
            raise TypeError(f"{where} is not on the CPU; copy it to the CPU first")
        return array, NUMPY, False
    hint = "; numpy.asarray makes one of it" if isinstance(array, (list, tuple, float, int)) else ""
    raise TypeError(f"{where} is of type {type(array).__name__}; {_EXPECTED}{hint}")


def _is_tensor(array: Any, name: str) -> bool:
    # Subclasses that live in other packages, such as torch.nn.Parameter of an extension.
    module = sys.modules.get(name)
    cls = getattr(module, "Array" if name == "jax" else "Tensor", None)
    return isinstance(cls, type) and isinstance(array, cls)


def _numpy(array: Any, where: str, framework: int) -> Prepared:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{where} is a masked array, whose mask would be lost; "
            "give array.filled(...), and the mask as attention_mask"
        )
    plain = np.asarray(array).view(np.ndarray) if type(array) is not np.ndarray else array
    name = plain.dtype.name
    if name not in _DTYPES:
        raise TypeError(f"{where} has dtype {plain.dtype}; expected float32, float64, float16 or "
                        "bfloat16, for a mask also bool; convert it with .astype(...)")  # fmt: skip
    if plain.ndim > 8:
        raise ValueError(f"{where} has {plain.ndim} axes; expected at most 8")
    if name == "bfloat16":
        return plain.view(np.uint16), framework, True
    # Elements that no pointer can be set to: another byte order, parts of a record.
    if not plain.dtype.isnative or not plain.flags.aligned or _between(plain):
        plain = np.array(plain, dtype=plain.dtype.newbyteorder("="), order="C", copy=True)
    return plain, framework, False


def _between(array: np.ndarray) -> bool:
    return any(step % array.itemsize for step in array.strides)


def _torch(tensor: Any, where: str) -> Prepared:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise TypeError(f"{where} is on {tensor.device}; expected the CPU; use tensor.cpu()")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise TypeError(
            f"{where} requires a gradient, which this call would not record; "
            "use attn.torch.Module, or tensor.detach()"
        )
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise TypeError(f"{where} has layout {tensor.layout}; expected a dense tensor")
    plain = tensor.detach()
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    if plain.dtype is torch.bfloat16:
        return plain.view(torch.int16).numpy().view(np.uint16), TORCH, True
    if plain.dtype not in _torch_dtypes():
        raise TypeError(f"{where} has dtype {plain.dtype}; expected float32, float64, float16 or "
                        "bfloat16, for a mask also bool; convert it with .to(...)")  # fmt: skip
    if plain.ndim > 8:
        raise ValueError(f"{where} has {plain.ndim} axes; expected at most 8")
    return plain.numpy(), TORCH, False


@functools.cache
def _torch_dtypes() -> frozenset[Any]:
    torch = sys.modules["torch"]
    return frozenset(getattr(torch, name) for name in _DTYPES if hasattr(torch, name))


def _jax(array: Any, where: str) -> Prepared:
    jax = sys.modules["jax"]
    if isinstance(array, jax.core.Tracer):
        raise TypeError(f"{where} is traced by jax; use attn.jax inside jit, grad and vmap")
    if any(device.platform != "cpu" for device in array.devices()):
        raise TypeError(
            f"{where} is not on the CPU; use jax.device_put(array, jax.devices('cpu')[0])"
        )
    try:
        return _numpy(np.from_dlpack(array), where, JAX)
    except (TypeError, BufferError, RuntimeError, ValueError):  # bfloat16, several devices
        return _numpy(np.asarray(array), where, JAX)


def _tensorflow(tensor: Any, where: str) -> Prepared:
    if not hasattr(tensor, "numpy"):
        raise TypeError(f"{where} is a symbolic tensor; use attn.keras.Layer in models")
    if "CPU" not in (tensor.device or "CPU"):
        raise TypeError(f"{where} is on {tensor.device}; expected the CPU")
    try:
        return _numpy(np.asarray(memoryview(tensor)), where, TENSORFLOW)
    except (TypeError, ValueError, NotImplementedError):  # bfloat16
        return _numpy(tensor.numpy(), where, TENSORFLOW)


_READERS: dict[str, Callable[[Any, str], Prepared]] = {
    "torch": _torch,
    "jax": _jax,
    "jaxlib": _jax,
    "tensorflow": _tensorflow,
}


def deliver(array: np.ndarray, framework: int, bfloat16: bool) -> Any:
    """A result as the kind of array that the call was given; bfloat16 arrives as uint16."""
    if framework == TORCH:
        torch = sys.modules["torch"]
        if bfloat16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)
    if bfloat16:
        import ml_dtypes  # who has such arrays has this package

        array = array.view(ml_dtypes.bfloat16)
    if framework == JAX:
        return sys.modules["jax"].numpy.asarray(array)
    if framework == TENSORFLOW:
        return sys.modules["tensorflow"].convert_to_tensor(array)
    return array
