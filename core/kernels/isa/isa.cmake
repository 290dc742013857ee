# SPDX-License-Identifier: Apache-2.0
#
# Flags of the files that are compiled for one instruction set each. Always -O3, also in Debug: without
# inlining they would emit weak symbols with wide instructions that the linker may keep for baseline code.
set(attn_isa_common -O3 -fno-math-errno -fno-trapping-math -fno-exceptions)
set(attn_isa_sse2 -msse2)
set(attn_isa_avx2 -mavx2 -mfma)
set(attn_isa_avx512 -mavx2 -mfma -mavx512f -mavx512cd -mavx512dq -mavx512bw)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12's own header reads a variable that it left undefined on purpose (_mm512_undefined_ps).
  list(APPEND attn_isa_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
if(ATTN_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Hundreds of inlined vector functions: checks of undefined behaviour and of the stack take minutes to compile
  # there. What they read and write in memory stays checked.
  list(APPEND attn_isa_common -fno-sanitize=undefined --param=asan-stack=0
    --param=asan-instrumentation-with-call-threshold=0)
endif()
foreach(isa sse2 avx2 avx512)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/${isa}.cpp PROPERTIES
    COMPILE_OPTIONS "${attn_isa_common};${attn_isa_${isa}}")
endforeach()
