# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause

# What every own source file is compiled with.
add_library(neap_own_code INTERFACE)
# -fPIC also for programs: a precompiled header is refused by a compilation with -fPIE.
target_compile_options(neap_own_code INTERFACE -fPIC -Wall -Wextra -Wpedantic -Wconversion)
if(NEAP_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(neap_own_code INTERFACE -fpch-preprocess)  # what ccache needs to see a precompiled header
endif()
if(NEAP_STRICT)
  target_compile_options(neap_own_code INTERFACE -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # But for what it believes after inlining: that differs with each of its releases, and is often wrong.
    target_compile_options(neap_own_code INTERFACE -Wno-error=array-bounds -Wno-error=restrict
      -Wno-error=stringop-overflow -Wno-error=stringop-overread -Wno-error=maybe-uninitialized)
  endif()
endif()
if(NEAP_SANITIZE)
  target_compile_options(neap_own_code INTERFACE -fsanitize=${NEAP_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(neap_own_code INTERFACE -fsanitize=${NEAP_SANITIZE})
  if(NEAP_SANITIZE MATCHES "thread")
    # GCC warns that fences are not seen by the sanitizer; LibTorch's headers have some.
    target_compile_options(neap_own_code INTERFACE -Wno-tsan)
  else()
    target_compile_options(neap_own_code INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# torch/torch.h costs 20 s a file; compiled once and shared by those that ask for it.
add_library(neap_torch_header OBJECT "${PROJECT_SOURCE_DIR}/cmake/torch_header.cpp")
target_compile_features(neap_torch_header PUBLIC cxx_std_20)
target_link_libraries(neap_torch_header PRIVATE neap_own_code neap::torch)
target_precompile_headers(neap_torch_header PRIVATE <torch/torch.h>)
set_target_properties(neap_torch_header PROPERTIES
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

# neap_module(NAME TORCH yes|no [MODULES_HEADER])
# Compiles the .cpp files of src/NAME and its folders into the library. Tests link the same objects, so that they reach what the library hides.
# MODULES_HEADER: its files include torch/torch.h or parts of it as large, and share the precompiled one.
function(neap_module name)
  cmake_parse_arguments(module "MODULES_HEADER" "TORCH" "" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${name}/*.cpp"
    "${PROJECT_SOURCE_DIR}/src/${name}/*/*.cpp")
  add_library(neap_${name} OBJECT ${sources})
  target_compile_features(neap_${name} PUBLIC cxx_std_20)
  target_compile_definitions(neap_${name} PRIVATE neap_EXPORTS)
  target_include_directories(neap_${name} PRIVATE
    "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include" "${PROJECT_BINARY_DIR}/include")
  target_link_libraries(neap_${name} PRIVATE neap_own_code)
  if(module_TORCH)
    target_link_libraries(neap_${name} PRIVATE neap::torch)
  endif()
  if(module_MODULES_HEADER)
    target_precompile_headers(neap_${name} REUSE_FROM neap_torch_header)
  endif()
  set_target_properties(neap_${name} PROPERTIES
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_sources(neap PRIVATE $<TARGET_OBJECTS:neap_${name}>)
  set_property(GLOBAL APPEND PROPERTY NEAP_MODULES neap_${name})
endfunction()
