#!/usr/bin/env bash
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/run.sh SECONDS [NAME]: builds all fuzzers, or the named one of NAME_fuzzer.cpp, with clang and with the sanitizers for addresses and
# undefined behaviour, and runs each for SECONDS. Needs clang, what scripts/setup.sh installs for the library and the command, and a configured
# build folder, which has export.h. Needs no LibTorch.
#
# The results are in build/fuzz. NAME.corpus has the inputs that reach new code, from which the next run starts. NAME-crash-* and
# similar files are the inputs that failed; build/fuzz/NAME_fuzzer FILE repeats one. The script's status is that of the first fuzzer
# that fails.
set -euo pipefail

all=(trace plan safetensors formats snapshot config values runs)
usage="usage: tests/fuzz/run.sh SECONDS [$(IFS='|'; echo "${all[*]}")]"
seconds=${1:?$usage}
names=("${all[@]}")
(($# < 2)) || names=("$2")
[[ $seconds =~ ^[1-9][0-9]*$ && " ${all[*]} " == *" ${names[0]} "* ]] || {
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
  -Dneap_EXPORTS -I"$root/src" -I"$root/include" -I"$root/tests" -I"$generated" -I"$root/apps/neap" -I"${generated%/include}/apps/neap"
  # New inputs need not reach the parser's own branches.
  -fsanitize-coverage-ignorelist="$here/ignorelist.txt")
objects=()
app=()
for name in command_line{,_measure,_plan,_runs,_train,_view,_weights} config_file data_options manual output page/page page/run_sections run_database \
  save_interval values; do
  app+=("$root/apps/neap/$name.cpp")
done
for source in "$root"/src/{base,machine,graph,safetensors,formats}/*.cpp "$root/src/snapshot/record.cpp" "${app[@]}"; do
  object=$out/$(basename "$(dirname "$source")")_$(basename "$source" .cpp).o
  "$compiler" "${flags[@]}" -fsanitize=fuzzer-no-link -c "$source" -o "$object"
  objects+=("$object")
done
for name in "${names[@]}"; do
  "$compiler" "${flags[@]}" -fsanitize=fuzzer "$here/${name}_fuzzer.cpp" "${objects[@]}" \
    -lz -lpng -lturbojpeg -lSQLiteCpp -lsqlite3 -ltomlplusplus -o "$out/${name}_fuzzer"
done
for name in "${names[@]}"; do
  mkdir -p "$out/$name.corpus"
  echo "fuzz: $name, $seconds s"
  "$out/${name}_fuzzer" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
    -artifact_prefix="$out/$name-" "$out/$name.corpus" "$here/corpus/$name"
done
