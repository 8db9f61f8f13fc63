# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# cmake -DNEAP_BINARY_DIR=... -DNEAP_SOURCE_DIR=... -P subdirectory.cmake
# Builds a project that uses neap by add_subdirectory, and needs only its library.
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(scratch "${NEAP_BINARY_DIR}/subdirectory_test")
file(REMOVE_RECURSE "${scratch}/source")
file(WRITE "${scratch}/source/CMakeLists.txt" "
cmake_minimum_required(VERSION 3.25)
project(app LANGUAGES CXX)
add_subdirectory(\"${NEAP_SOURCE_DIR}\" neap)
add_executable(app \"${NEAP_SOURCE_DIR}/examples/budget.cpp\")
target_link_libraries(app PRIVATE neap::neap)
# This is for speed. The library's own build shows whether each file includes what it needs.
foreach(module memory intercept data engine policy checkpoint adaptive)
  target_precompile_headers(neap_\${module} REUSE_FROM neap_torch_header)
endforeach()
foreach(target neap_command neap_checkpoint_tests neap_bench)
  if(TARGET \${target})
    message(FATAL_ERROR \"add_subdirectory brings \${target} along\")
  endif()
endforeach()
")
# Without optimization, for speed too: what is compiled is the same.
run(${CMAKE_COMMAND} -S "${scratch}/source" -B "${scratch}/build" -G Ninja -DCMAKE_BUILD_TYPE=Release
    "-DCMAKE_CXX_FLAGS_RELEASE=-O0 -DNDEBUG"
    -DNEAP_TORCH_VERSION=${NEAP_TORCH_VERSION} "-DTorch_DIR=${Torch_DIR}"
    "-DCMAKE_PREFIX_PATH=${CMAKE_PREFIX_PATH}")
run(${CMAKE_COMMAND} --build "${scratch}/build" -j 2 --target app)
run("${scratch}/build/app")
