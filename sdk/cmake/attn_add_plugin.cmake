# SPDX-License-Identifier: Apache-2.0
#
# attn_add_plugin(<name> SOURCES <file>... [KERNELS <file>...] [OUTPUT_DIRECTORY <directory>])
#
# A shared library <name>.so that the attn loader accepts: C++20 or C11, nothing exported but
# attn_plugin_v1, nothing left undefined, a build id, and no dependency of ours. Works the same inside the
# project and with an installed SDK.
#
# KERNELS are compiled once for each level of the library, always with -O3:
#   reference (single numbers), sse2 (the baseline of x86-64), avx2 (with fma), avx512 (f, cd, dq, bw).
# Each copy sees ATTN_KERNEL_LEVEL as the bare word reference, sse2, avx2 or avx512, and reference ATTN_KERNEL_SCALAR
# too. Put everything into `namespace ATTN_KERNEL_LEVEL { ... }` and include no standard library header that has
# inline code; attn/sdk/simd.hpp has the vectors, attn/sdk/dispatch.hpp the choice at run time.
include_guard(GLOBAL)

function(_attn_plugin_compile_settings target)
  set_target_properties(${target} PROPERTIES
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  # A unique symbol would tie the library to every other one that has the same template.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)
  target_link_libraries(${target} PRIVATE attn::sdk)
endfunction()

# The files, compiled once for each level, as sources of the target.
function(_attn_plugin_kernels target)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    message(FATAL_ERROR "${target}: KERNELS are compiled for x86-64 only")
  endif()
  set(levels reference sse2 avx2 avx512)
  set(flags_reference -DATTN_KERNEL_SCALAR)
  set(flags_sse2 "")
  set(flags_avx2 -mavx2 -mfma)
  set(flags_avx512 -mavx2 -mfma -mavx512f -mavx512cd -mavx512dq -mavx512bw)
  foreach(level IN LISTS levels)
    set(object ${target}_kernels_${level})
    add_library(${object} OBJECT ${ARGN})
    _attn_plugin_compile_settings(${object})
    target_compile_definitions(${object} PRIVATE ATTN_KERNEL_LEVEL=${level})
    target_compile_options(${object} PRIVATE -O3 ${flags_${level}})
    if(level STREQUAL "avx512")
      # GCC 12 takes 32 bytes as enough for variables of 64 on AddressSanitizer's own stack (its bug 110027).
      target_compile_options(${object} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=asan-stack=0>)
      # False alarms from the compiler's own header.
      target_compile_options(${object} PRIVATE
        $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized>
        $<$<COMPILE_LANG_AND_ID:C,GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized>)
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
  endforeach()
endfunction()

function(attn_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "OUTPUT_DIRECTORY" "SOURCES;KERNELS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "attn_add_plugin(${name}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "attn_add_plugin(${name}): SOURCES is missing")
  endif()

  add_library(${name} MODULE ${arg_SOURCES})
  _attn_plugin_compile_settings(${name})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so" OUTPUT_NAME ${name})
  if(arg_OUTPUT_DIRECTORY)
    set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIRECTORY})
  endif()

  # Hidden visibility alone still exports weak symbols of the C++ library.
  set(script ${CMAKE_CURRENT_BINARY_DIR}/${name}.version)
  file(WRITE ${script}.new "{ global: attn_plugin_v1; local: *; };\n")
  file(COPY_FILE ${script}.new ${script} ONLY_IF_DIFFERENT)
  # --no-gc-sections: nothing refers to the metadata, and it has to stay.
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${script} -Wl,--build-id -Wl,--no-gc-sections)
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS ${script})
  # clang leaves the sanitizers' own symbols to the program.
  set(flags "${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS} ${CMAKE_MODULE_LINKER_FLAGS} ${ATTN_SANITIZE}")
  if(NOT flags MATCHES "sanitize" AND NOT ATTN_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()

  if(arg_KERNELS)
    _attn_plugin_kernels(${name} ${arg_KERNELS})
  endif()
endfunction()
