# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# cmake -DNEAP_BINARY_DIR=... -DNEAP_SOURCE_DIR=... -P installed.cmake
# Installs into an empty prefix, builds the examples against it as a user would, and runs them.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}:\n${out}")
  endif()
  message(STATUS "${out}")
endfunction()

set(scratch "${NEAP_BINARY_DIR}/install_test")
file(REMOVE_RECURSE "${scratch}")
run(${CMAKE_COMMAND} --install "${NEAP_BINARY_DIR}" --prefix "${scratch}/prefix")
run(${CMAKE_COMMAND} -S "${NEAP_SOURCE_DIR}/examples" -B "${scratch}/build" -G Ninja
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=${scratch}/prefix")
run(${CMAKE_COMMAND} --build "${scratch}/build" -j 1)
run("${scratch}/build/example_budget")
run("${scratch}/build/example_checkpoint")
run("${scratch}/prefix/bin/neap" --help)
run("${scratch}/prefix/bin/neap" doctor)
