# SPDX-License-Identifier: Apache-2.0
#
# One file for each level, written here, and its flags. Always -O3, also in Debug: without inlining they would emit
# weak symbols with wide instructions that the linker may keep for baseline code.
set(attn_isa_common -O3 -fno-math-errno -fno-trapping-math -fno-exceptions)
if(ATTN_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Hundreds of inlined vector functions: checks of undefined behaviour and of the stack take minutes to compile
  # there. What they read and write in memory stays checked.
  list(APPEND attn_isa_common -fno-sanitize=undefined --param=asan-stack=0
    --param=asan-instrumentation-with-call-threshold=0)
endif()
include(${PROJECT_SOURCE_DIR}/sdk/cmake/attn_add_plugin.cmake)
attn_sdk_levels(levels)
foreach(level IN LISTS levels)
  set(file ${CMAKE_CURRENT_BINARY_DIR}/isa/${level}.cpp)
  file(CONFIGURE OUTPUT ${file} CONTENT [[
#define ATTN_ISA_LEVEL @level@
#include "core/kernels/isa/@level@.hpp"
#include "core/kernels/isa/isa.inl.hpp"
]] @ONLY)
  target_sources(attn_core PRIVATE ${file})
  set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${attn_isa_common};${levels_${level}}")
endforeach()
# Products of bfloat16, beside the table of avx512.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  set(attn_isa_bf16_dots)
  set(attn_isa_bf16_tiles -mamx-tile -mamx-bf16)
  foreach(name IN ITEMS bf16_dots bf16_tiles)
    set(file ${CMAKE_CURRENT_BINARY_DIR}/isa/${name}.cpp)
    file(CONFIGURE OUTPUT ${file} CONTENT [[
#include "core/kernels/isa/avx512.hpp"
#include "core/kernels/@name@.inl.hpp"
]] @ONLY)
    target_sources(attn_core PRIVATE ${file})
    set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS
      "${attn_isa_common};${levels_avx512};-mavx512bf16;${attn_isa_${name}}")
  endforeach()
endif()
