# SPDX-License-Identifier: Apache-2.0
"""Attention layers for the CPU: numpy, torch, jax and tensorflow arrays in, the same kind out.

    import attn, numpy as np

    layer = attn.MultiHeadAttention(dim=64, num_heads=4)
    y = layer(np.random.rand(2, 16, 64).astype(np.float32))

``attn.list_attention_types()`` names the types; ``attn.create_attention_layer(type, ...)`` makes one by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _arrays, _attn, _errors, _log

_attn.set_hooks(
    _arrays.prepare, _arrays.deliver, _log.write, _errors.InvalidArgument, _errors.Failure
)

from ._attn import (
    set_matmul_precision,
    set_seed,
    set_threads,
    thread_count,
    use_tuned,
)  # noqa: E402
from ._errors import Failure, InvalidArgument  # noqa: E402
from .convert import convert  # noqa: E402
from .factory import (  # noqa: E402
    Claim,
    create_attention_from_config,
    create_attention_layer,
    get_attention_claims,
    get_attention_info,
    get_attention_requirements,
    list_attention_types,
    load,
    load_config,
    schema,
    validate_attention_config,
)
from .functional import (  # noqa: E402
    rotary_embedding,
    rotary_embedding_backward,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from .layer import Gradients, Layer, OperatorTime, State, Tape, WeightInfo, Weights  # noqa: E402
from .layers import types  # noqa: E402
from .picture import Picture, plot  # noqa: E402
from .system import doctor, load_plugins, rescan_plugins  # noqa: E402

__version__: str = _attn.version

__all__ = [
    "Claim",
    "Failure",
    "Gradients",
    "InvalidArgument",
    "Layer",
    "OperatorTime",
    "Picture",
    "State",
    "Tape",
    "WeightInfo",
    "Weights",
    "convert",
    "create_attention_from_config",
    "create_attention_layer",
    "doctor",
    "get_attention_claims",
    "get_attention_info",
    "get_attention_requirements",
    "list_attention_types",
    "load",
    "load_config",
    "load_plugins",
    "plot",
    "rescan_plugins",
    "rotary_embedding",
    "rotary_embedding_backward",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_backward",
    "schema",
    "set_matmul_precision",
    "set_seed",
    "set_threads",
    "thread_count",
    "types",
    "use_tuned",
    "validate_attention_config",
]


if TYPE_CHECKING:
    from . import layers
    from .layers import *  # noqa: F403

    __all__ += layers.__all__
else:

    def __getattr__(name: str) -> Any:
        """Classes of the types, and AttentionType; plugins are looked for at the first one."""
        if name == "AttentionType" or name[:1].isupper():
            from . import layers

            if name in layers.__getattr__("__all__"):
                return getattr(layers, name)
        # `from . import name` asks here first: names that are no classes must not make plugins load.
        names = __dir__() if name[:1].isupper() else __all__
        near = "" if name[:1] == "_" else _errors.nearest(name, names)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{near}")

    def __dir__() -> list[str]:
        from . import layers

        return sorted({*__all__, *layers.__getattr__("__all__"), "__version__"})
