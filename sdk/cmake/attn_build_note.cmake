# SPDX-License-Identifier: Apache-2.0
#
# Writes into a linked plugin what it was built from: the section .attn_build, lines "key value". `attn plugins` shows
# them without loading the file.
#   cmake -DFILE=<plugin.so> -DOBJCOPY=<objcopy> -DSOURCE=<folder> -DCOMPILER=<text> -DFLAGS=<text> -P attn_build_note.cmake
set(revision unknown)
set(dirty unknown)
find_program(git git)
if(git)
  execute_process(COMMAND ${git} -C ${SOURCE} describe --always --dirty --abbrev=12 "--exclude=*"
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result ERROR_QUIET)
  if(result EQUAL 0)
    string(REGEX REPLACE "-dirty$" "" revision "${described}")
    set(dirty no)
    if(described MATCHES "-dirty$")
      set(dirty yes)
    endif()
  endif()
endif()
string(REGEX REPLACE "[ \t\n]+" " " flags "${FLAGS}")
string(STRIP "${flags}" flags)
file(WRITE ${FILE}.note "revision ${revision}\ndirty ${dirty}\ncompiler ${COMPILER}\nflags ${flags}\n")
execute_process(COMMAND ${OBJCOPY} --remove-section=.attn_build --add-section .attn_build=${FILE}.note ${FILE}
  RESULT_VARIABLE result ERROR_VARIABLE words)
file(REMOVE ${FILE}.note)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "attn_build_note.cmake: ${OBJCOPY} failed for ${FILE}: ${words}")
endif()
