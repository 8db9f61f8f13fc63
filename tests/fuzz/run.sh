#!/usr/bin/env bash
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/run.sh SECONDS [trace|plan|safetensors|formats]: builds all fuzzers, or the named one, with clang and with the sanitizers for addresses
# and undefined behaviour, and runs each for SECONDS. Needs clang, zlib, libpng, TurboJPEG, nlohmann-json and a configured build folder, which has
# export.h. Needs no LibTorch.
#
# The results are in build/fuzz. NAME.corpus has the inputs that reach new code, from which the next run starts. NAME-crash-* and
# similar files are the inputs that failed; build/fuzz/NAME_fuzzer FILE repeats one. The script's status is that of the first fuzzer
# that fails.
set -euo pipefail

usage='usage: tests/fuzz/run.sh SECONDS [trace|plan|safetensors|formats]'
seconds=${1:?$usage}
read -ra names <<<"${2:-trace plan safetensors formats}"
[[ $seconds =~ ^[1-9][0-9]*$ && ${names[0]} =~ ^(trace|plan|safetensors|formats)$ ]] || {
  echo "$usage" >&2
  exit 2
}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
root=${here%/tests/fuzz}
out=$root/build/fuzz
# NEAP_EXPORT_DIR names the include/ of a build folder that is elsewhere.
generated=${NEAP_EXPORT_DIR:-$root/build/include}
[[ -f $generated/neap/export.h ]] || {
  echo "fuzz: $generated/neap/export.h is missing; configure a build in $root/build first" >&2
  exit 2
}
# The package of clang-tidy brings a clang whose name has its version.
compiler=${CXX:-$(command -v clang++ || command -v clang++-14 || true)}
[[ -n $compiler ]] || {
  echo 'fuzz: no clang++ found; install clang' >&2
  exit 2
}
mkdir -p "$out"

# The library's files are compiled once, for all fuzzers.
flags=(-std=c++20 -O1 -g -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=undefined
  -Dneap_EXPORTS -I"$root/src" -I"$root/include" -I"$root/tests" -I"$generated"
  # New inputs need not reach the parser's own branches.
  -fsanitize-coverage-ignorelist="$here/ignorelist.txt")
objects=()
for source in "$root"/src/base/*.cpp "$root"/src/machine/*.cpp "$root"/src/graph/*.cpp "$root"/src/safetensors/*.cpp "$root"/src/formats/*.cpp; do
  object=$out/$(basename "$(dirname "$source")")_$(basename "$source" .cpp).o
  "$compiler" "${flags[@]}" -fsanitize=fuzzer-no-link -c "$source" -o "$object"
  objects+=("$object")
done
for name in "${names[@]}"; do
  "$compiler" "${flags[@]}" -fsanitize=fuzzer "$here/${name}_fuzzer.cpp" "${objects[@]}" \
    -lz -lpng -lturbojpeg -o "$out/${name}_fuzzer"
done
for name in "${names[@]}"; do
  mkdir -p "$out/$name.corpus"
  echo "fuzz: $name, $seconds s"
  "$out/${name}_fuzzer" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
    -artifact_prefix="$out/$name-" "$out/$name.corpus" "$here/corpus/$name"
done
