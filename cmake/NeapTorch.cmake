# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# Defines neap::torch: LibTorch's headers and its CPU libraries, without find_package(Torch), which stops for a CUDA
# build of LibTorch on a machine without the CUDA toolkit. Used by neap's own build and by an installed neap.
#
# Looks, in this order, at Torch_DIR, at CMAKE_PREFIX_PATH, and at NEAP_TORCH_HINT (where neap's set-up put it, or where
# an installed neap found it). The first that holds LibTorch is taken; a version outside the range is an error.

set(NEAP_TORCH_OLDEST 2.11)
set(NEAP_TORCH_NEWEST 2.15)

function(neap_find_torch)
  if(TARGET neap::torch)
    return()
  endif()
  set(places "")
  if(Torch_DIR)
    list(APPEND places "${Torch_DIR}/../../..")
  elseif(DEFINED ENV{Torch_DIR})
    list(APPEND places "$ENV{Torch_DIR}/../../..")
  endif()
  set(prefixes ${CMAKE_PREFIX_PATH})
  if(DEFINED ENV{CMAKE_PREFIX_PATH})
    string(REPLACE ":" ";" from_environment "$ENV{CMAKE_PREFIX_PATH}")
    list(APPEND prefixes ${from_environment})
  endif()
  foreach(prefix IN LISTS prefixes)
    list(APPEND places "${prefix}" "${prefix}/torch")
  endforeach()
  list(APPEND places "${NEAP_TORCH_HINT}")

  set(root "")
  foreach(place IN LISTS places)
    if(EXISTS "${place}/lib/libtorch_cpu.so" AND EXISTS "${place}/include/ATen/core/Tensor.h")
      get_filename_component(root "${place}" ABSOLUTE)
      break()
    endif()
  endforeach()
  if(NOT root)
    list(JOIN places "\n  " listed)
    message(FATAL_ERROR
      "No LibTorch found. Looked at:\n  ${listed}\n"
      "Run scripts/setup.sh, or name your own with -DTorch_DIR=DIR/share/cmake/Torch or -DCMAKE_PREFIX_PATH=DIR.")
  endif()

  set(version_header "${root}/include/torch/headeronly/version.h")
  if(NOT EXISTS "${version_header}")
    set(version_header "${root}/include/torch/csrc/api/include/torch/version.h")
  endif()
  file(STRINGS "${version_header}" lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  set(version "")
  foreach(part MAJOR MINOR PATCH)
    string(REGEX MATCH "TORCH_VERSION_${part} ([0-9]+)" ignored "${lines}")
    list(APPEND version "${CMAKE_MATCH_1}")
  endforeach()
  list(JOIN version "." version)
  string(REGEX MATCH "^[0-9]+\\.[0-9]+" series "${version}")
  if(series VERSION_LESS NEAP_TORCH_OLDEST OR series VERSION_GREATER NEAP_TORCH_NEWEST)
    message(FATAL_ERROR
      "LibTorch ${version} in ${root} is outside ${NEAP_TORCH_OLDEST} to ${NEAP_TORCH_NEWEST}, which neap works with. "
      "Name another with -DTorch_DIR=DIR/share/cmake/Torch or -DCMAKE_PREFIX_PATH=DIR.")
  endif()
  message(STATUS "LibTorch ${version}: ${root}")

  add_library(neap::torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(neap::torch SYSTEM INTERFACE
    "${root}/include" "${root}/include/torch/csrc/api/include")
  # A CUDA build of libtorch_cpu.so leaves names open that only its CUDA half has and nobody here calls.
  target_link_options(neap::torch INTERFACE
    "LINKER:--allow-shlib-undefined" "LINKER:-rpath,${root}/lib")
  target_link_libraries(neap::torch INTERFACE "${root}/lib/libtorch_cpu.so" "${root}/lib/libc10.so")
  set(NEAP_TORCH_ROOT "${root}" CACHE INTERNAL "LibTorch that neap is built with")
  set(NEAP_TORCH_FOUND_VERSION "${version}" CACHE INTERNAL "its version")
endfunction()
