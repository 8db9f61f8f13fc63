# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# cmake -DNEAP_BINARY_DIR=... -DNEAP_SOURCE_DIR=... -P installed.cmake
# Installs into an empty prefix, builds the examples and the programs of the slides against it as a user would, and runs them.
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(scratch "${NEAP_BINARY_DIR}/install_test")
file(REMOVE_RECURSE "${scratch}")
run(${CMAKE_COMMAND} --install "${NEAP_BINARY_DIR}" --prefix "${scratch}/prefix")
# Each of these is a project of its own. They are built as one, so that torch/torch.h is compiled once.
run(${CMAKE_COMMAND} -S "${NEAP_SOURCE_DIR}/examples" -B "${scratch}/examples" -G Ninja
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=${scratch}/prefix")
file(WRITE "${scratch}/source/CMakeLists.txt" "
cmake_minimum_required(VERSION 3.25)
project(strangers LANGUAGES CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY \"\${CMAKE_BINARY_DIR}\")
find_package(neap REQUIRED)
add_subdirectory(\"${NEAP_SOURCE_DIR}/examples\" examples)
add_subdirectory(\"${NEAP_SOURCE_DIR}/tests/slides\" slides)
")
run(${CMAKE_COMMAND} -S "${scratch}/source" -B "${scratch}/build" -G Ninja
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=${scratch}/prefix")
run(${CMAKE_COMMAND} --build "${scratch}/build" -j 2)
file(GLOB slides "${NEAP_SOURCE_DIR}/tests/slides/slide_*.cpp")
foreach(slide IN LISTS slides)
  get_filename_component(name "${slide}" NAME_WE)
  run("${scratch}/build/${name}")
endforeach()
run_refused(6 ${CMAKE_COMMAND} --build "${scratch}/build" --target slides_refused)
expect_words(
  "neap cannot call this with these arguments."
  "neap::AdaptiveCheckpointing takes a list of layers, or a model that has one"
  "for one optimizer step on the next micro-batches of a neap::train::Pass call step(pass)"
  "use of deleted function")
run("${scratch}/build/example_budget")
run("${scratch}/build/example_checkpoint")
run("${scratch}/build/example_simple_model")
expect_printed(
  "plain peak:        4460288 bytes"
  "checkpointed peak: 4460288 bytes")
run("${scratch}/build/example_memory_usage")
run("${scratch}/build/example_checkpointed_model")
expect_printed("same loss: yes")
run("${scratch}/build/example_custom_checkpoint")
expect_printed(
  "nothing kept: 7 storages evicted, 7 operators replayed"
  "matrix products kept: 3 storages evicted, 3 operators replayed"
  "layer net.4 kept: 5 storages evicted, 5 operators replayed"
  "what 300 KiB can hold: 5 storages evicted, 5 operators replayed"
  "a part of the source kept: 1 storages evicted, 2 operators replayed"
  "one tensor kept: 1 storages evicted, 1 operators replayed")
run("${scratch}/build/example_segmented_network")
expect_printed(
  "evictions in 20 steps: 60"
  "logits below zero: yes")
run("${scratch}/build/example_transformer")
expect_printed("same gradients: yes")
run("${scratch}/build/example_resnet")
expect_printed(
  "batches counted by the first norm in 2 steps: 2"
  "same loss: yes"
  "ResNet-18: 11689512 parameters")
run("${scratch}/build/example_adaptive")
expect_printed(
  "64MiB: 0 of 8 layers checkpointed"
  "20MiB: 4 of 8 layers checkpointed"
  "by hand: layer 7 checkpointed")
run("${scratch}/build/example_data_loader")
expect_printed(
  "epoch 0, 8 batches, first samples of each: 127 917 461 195 647 625 431 980"
  "epoch 1, 8 batches, first samples of each: 779 85 393 483 451 639 516 454"
  "inside the budget of 8.0 MiB"
  "resumed at sample 128 of epoch 2: the same batch")
run("${scratch}/build/example_trainer")
expect_printed(
  "step 4 of 12: 2 micro-batches, 168 rows"
  "4 steps, 14 micro-batches, 1704 rows; inside 2.5 MiB: yes; operators replayed: yes"
  "the loss fell: yes")
run("${scratch}/build/example_memory_tracker")
expect_printed(
  "the peak of a step is the largest of its phases: yes"
  "lines of CSV: 21")
run("${scratch}/build/example_benchmark")
expect_printed(
  "less memory when checkpointed: yes"
  "equal bits in all rows that fit: yes")
run("${scratch}/build/example_performance_analyzer")
expect_printed(
  "4096 pictures fit: no"
  "the budget trains a larger batch: yes, proved: yes")
run(${CMAKE_COMMAND} -S "${NEAP_SOURCE_DIR}/examples/own_model" -B "${scratch}/own_model" -G Ninja
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=${scratch}/prefix")
run(${CMAKE_COMMAND} --build "${scratch}/own_model" -j 1)
run("${scratch}/prefix/bin/neap" verify --model "${scratch}/own_model/libown_model.so" --budget 70%)
run("${scratch}/prefix/bin/neap" --help)
foreach(file share/man/man1/neap.1 share/bash-completion/completions/neap)
  file(SIZE "${scratch}/prefix/${file}" size)
  if(size LESS 1000)
    message(FATAL_ERROR "${file} is installed with ${size} bytes")
  endif()
endforeach()
run("${scratch}/prefix/bin/neap" doctor)
