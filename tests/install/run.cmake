# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# run(COMMAND...): shows what it printed; ends the script when it fails.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}:\n${out}")
  endif()
  message(STATUS "${out}")
endfunction()
