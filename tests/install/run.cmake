# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# run(COMMAND...): runs the command, shows its output and puts it into `printed`. Ends the script when the command fails.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}:\n${out}")
  endif()
  message(STATUS "${out}")
  set(printed "${out}" PARENT_SCOPE)
endfunction()

# expect_printed(LINE...): ends the script unless the last run() printed each of these lines.
function(expect_printed)
  math(EXPR last "${ARGC} - 1")
  foreach(index RANGE ${last})
    set(line "${ARGV${index}}")  # ARGN would be cut at each semicolon
    string(FIND "\n${printed}" "\n${line}\n" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "expected the line\n  ${line}\nin\n${printed}")
    endif()
  endforeach()
endfunction()

# run_refused(COUNT COMMAND...): runs a compilation that must fail with COUNT errors, and puts its output into `printed`.
function(run_refused count)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  string(REGEX MATCHALL " error: " errors "${out}")
  list(LENGTH errors found)
  if(code EQUAL 0 OR NOT found EQUAL count)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code} and ${found} errors, expected ${count}:\n${out}")
  endif()
  set(printed "${out}" PARENT_SCOPE)
endfunction()

# expect_words(TEXT...): like expect_printed(), but the texts may be anywhere in a line.
function(expect_words)
  math(EXPR last "${ARGC} - 1")
  foreach(index RANGE ${last})
    string(FIND "${printed}" "${ARGV${index}}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "expected the words\n  ${ARGV${index}}\nin\n${printed}")
    endif()
  endforeach()
endfunction()
