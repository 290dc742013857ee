# SPDX-License-Identifier: Apache-2.0
#
# Writes manifest.txt beside the plugins that come with the library.
#   cmake -DPROBE=<attn-plugin-probe> -DDIRECTORY=<plugins> -P write_manifest.cmake
# PROBE is a list when an emulator has to run it.
# At install: install(CODE "set(PROBE ...)\nset(DIRECTORY \"\$ENV{DESTDIR}...\")"), then this as SCRIPT.
foreach(needed PROBE DIRECTORY)
  if(NOT ${needed})
    message(FATAL_ERROR "write_manifest.cmake: ${needed} is not set")
  endif()
endforeach()
execute_process(COMMAND ${PROBE} --manifest "${DIRECTORY}" "${DIRECTORY}/manifest.txt"
  RESULT_VARIABLE result ERROR_VARIABLE words)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "write_manifest.cmake: ${PROBE} failed for ${DIRECTORY} (${result}): ${words}")
endif()
