# SPDX-License-Identifier: Apache-2.0
#
# attn_add_plugin(<name> SOURCES <file>... [KERNELS <file>...] [OUTPUT_DIRECTORY <directory>])
#
# A shared library <name>.so that the attn loader accepts: C++20 or C11, nothing exported but
# attn_plugin_v1, nothing left undefined, a build id, and no dependency of ours. Works the same inside the
# project and with an installed SDK.
#
# KERNELS are compiled once for each level of the processor, always with -O3: reference (single numbers) and those of
# attn/sdk/levels.hpp.
# Each copy sees ATTN_KERNEL_LEVEL as the bare word, such as avx2, and reference ATTN_KERNEL_SCALAR too. Put everything into `namespace ATTN_KERNEL_LEVEL { ... }` and include no standard library header that has
# inline code; attn/sdk/simd.hpp has the vectors, attn/sdk/dispatch.hpp the choice at run time.
include_guard(GLOBAL)
set_property(GLOBAL PROPERTY ATTN_ADD_PLUGIN_DIRECTORY ${CMAKE_CURRENT_LIST_DIR})

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

# The levels of attn/sdk/levels.hpp for the processor that is compiled for: their names in <levels>, worst first, and
# the compiler's options of each in <levels>_<name>.
function(attn_sdk_levels levels)
  get_target_property(include attn::sdk INTERFACE_INCLUDE_DIRECTORIES)
  set(file ${include}/attn/sdk/levels.hpp)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} text)
  string(REGEX MATCH "__${CMAKE_SYSTEM_PROCESSOR}__[^#]*#define ATTN_SDK_LEVELS[^#]*" text "${text}")
  string(REGEX MATCHALL "X\\([a-z0-9]+, \"[^\"]*\"" rows "${text}")
  if(NOT rows)
    message(FATAL_ERROR "${file} has no levels for the processor ${CMAKE_SYSTEM_PROCESSOR}")
  endif()
  set(names "")
  foreach(row IN LISTS rows)
    string(REGEX MATCH "X\\(([a-z0-9]+), \"([^\"]*)\"" row "${row}")
    set(name ${CMAKE_MATCH_1})
    separate_arguments(options UNIX_COMMAND "${CMAKE_MATCH_2}")
    if(options MATCHES avx512 AND "${CMAKE_C_COMPILER_ID} ${CMAKE_CXX_COMPILER_ID}" MATCHES GNU)
      # GCC 12 takes 32 bytes as enough for variables of 64 on AddressSanitizer's own stack (its bug 110027), and its
      # own header reads variables that it left undefined on purpose.
      list(APPEND options --param=asan-stack=0 -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
    list(APPEND names ${name})
    set(${levels}_${name} ${options} PARENT_SCOPE)
  endforeach()
  set(${levels} ${names} PARENT_SCOPE)
endfunction()

# The files, compiled once for each level, as sources of the target.
function(_attn_plugin_kernels target)
  attn_sdk_levels(levels)
  set(levels_reference -DATTN_KERNEL_SCALAR)
  foreach(level IN LISTS levels ITEMS reference)
    set(object ${target}_kernels_${level})
    add_library(${object} OBJECT ${ARGN})
    _attn_plugin_compile_settings(${object})
    target_compile_definitions(${object} PRIVATE ATTN_KERNEL_LEVEL=${level})
    target_compile_options(${object} PRIVATE -O3 ${levels_${level}})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
  endforeach()
endfunction()

# Revision of the sources, whether they were changed since, compiler and flags, as they are when it is linked.
function(_attn_plugin_build_note target)
  if(NOT CMAKE_OBJCOPY)
    return()
  endif()
  get_property(directory GLOBAL PROPERTY ATTN_ADD_PLUGIN_DIRECTORY)
  set(language C)
  if(CMAKE_CXX_COMPILER_LOADED)
    set(language CXX)
  endif()
  string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
  add_custom_command(TARGET ${target} POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -DFILE=$<TARGET_FILE:${target}> -DOBJCOPY=${CMAKE_OBJCOPY}
      -DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}
      "-DCOMPILER=${CMAKE_${language}_COMPILER_ID} ${CMAKE_${language}_COMPILER_VERSION}"
      "-DFLAGS=${CMAKE_${language}_FLAGS} ${CMAKE_${language}_FLAGS_${type}}"
      -P ${directory}/attn_build_note.cmake)
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
  _attn_plugin_build_note(${name})
endfunction()
