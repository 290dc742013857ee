# SPDX-License-Identifier: Apache-2.0
"""Code that type checkers refuse, at the lines that say so."""

from __future__ import annotations

import attn

attn.MultiHeadAttention()  # wrong
attn.MultiHeadAttention(dim="64")  # wrong
attn.MultiHeadAttention(dim=64, heads=4)  # wrong
attn.WindowAttention(dim=96, window_size=7, num_heads=3, attention_mode="cubic")  # wrong
kind: attn.AttentionType = "cbma"  # wrong
attn.set_threads("two")  # wrong
attn.CBAM(channels=8).make_state("one")  # wrong
