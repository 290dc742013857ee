#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# All that has to pass before a change is taken; any CI can run it. Needs cmake, a compiler and the packages attn and
# attn-sdk (or ATTN and CMAKE_PREFIX_PATH of an installation elsewhere).
set -eu
cd "$(dirname "$0")"
attn=${ATTN:-attn}
cmake -S . -B build
cmake --build build
"$attn" check build/sliding_sink.so
