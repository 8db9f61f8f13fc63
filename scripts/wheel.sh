#!/usr/bin/env bash
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# scripts/wheel.sh BUILD...: makes build/wheels/torch_neap-*.whl of the libraries in each BUILD/python, and installs it
# into build/python-env.
set -euo pipefail

root=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
libraries=()
for build in "$@"; do libraries+=("$(cd "$build" && pwd)"/python/neap-torch-*.so); done
pip=("$root/build/python-env/bin/python" -m pip --quiet --disable-pip-version-check)

rm -rf "$root/build/wheels"
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$root/build/wheels" \
  --config-settings "cmake.define.NEAP_PYTHON_LIBRARIES=$(IFS=';' && echo "${libraries[*]}")" "$root/python"
"${pip[@]}" install --no-deps --force-reinstall "$root"/build/wheels/torch_neap-*.whl
