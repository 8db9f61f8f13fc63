# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# For `pip install ./python`: the torch of the environment that pip installs into. pip builds in an environment of its
# own, which has no torch, but runs the same interpreter.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND "${Python3_EXECUTABLE}" -c "import sysconfig; print(sysconfig.get_path('platlib'))"
  OUTPUT_VARIABLE site OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(EXISTS "${site}/torch/lib/libtorch_cpu.so")
  set(NEAP_TORCH_HINT "${site}/torch")
elseif(NOT Torch_DIR)
  message(FATAL_ERROR "torch_neap is built for one torch, and ${site} has none. Install torch there first, or name a "
    "LibTorch with --config-settings=cmake.define.Torch_DIR=DIR/share/cmake/Torch")
endif()
