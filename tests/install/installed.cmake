# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# cmake -DNEAP_BINARY_DIR=... -DNEAP_SOURCE_DIR=... -P installed.cmake
# Installs into an empty prefix, builds the examples against it as a user would, and runs them.
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(scratch "${NEAP_BINARY_DIR}/install_test")
file(REMOVE_RECURSE "${scratch}")
run(${CMAKE_COMMAND} --install "${NEAP_BINARY_DIR}" --prefix "${scratch}/prefix")
run(${CMAKE_COMMAND} -S "${NEAP_SOURCE_DIR}/examples" -B "${scratch}/build" -G Ninja
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=${scratch}/prefix")
run(${CMAKE_COMMAND} --build "${scratch}/build" -j 1)
run("${scratch}/build/example_budget")
run("${scratch}/build/example_checkpoint")
run("${scratch}/build/example_data_loader")
run("${scratch}/prefix/bin/neap" --help)
run("${scratch}/prefix/bin/neap" doctor)
