#!/usr/bin/env bash
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# scripts/setup.sh: installs what neap is built with. A second run finds all in place and does nothing.
#
#   scripts/setup.sh            # what `make train` needs: Debian packages, and LibTorch into build/deps
#   scripts/setup.sh --tools    # and what tests, benchmarks and `make format` need
#   scripts/setup.sh --tools --list-packages  # their names, and nothing else
#
# Packages go to the system (apt-get, as root or with sudo), LibTorch only below --prefix; Python's own
# packages are never touched. LibTorch is the CPU half of the wheel that PyPI publishes, pinned by sha256 in
# scripts/torch-VERSION.txt. Killed at any point, the next run starts afresh: a folder gets its name when it is whole.
set -euo pipefail

scripts=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
root=${scripts%/*}
version=2.15.0
prefix=$root/build/deps
packages=yes
torch=yes
tools=no
list=no

usage() {
  cat <<'TEXT'
usage: scripts/setup.sh [--torch VERSION] [--prefix DIR] [--no-packages] [--no-torch] [--tools] [--list-packages]
  --torch VERSION  the LibTorch to install (default 2.15.0)
  --prefix DIR     where it goes, as DIR/torch-VERSION (default build/deps in the source folder)
  --no-packages    leave the system's packages alone
  --no-torch       do not install LibTorch
  --tools          also what tests, benchmarks and `make format` need
  --list-packages  print the names of the Debian packages, one a line, and install nothing
TEXT
}

# fail LINE...: what happened, and what to do next.
fail() {
  printf 'setup: %s\n' "$1" >&2
  shift
  if (($# > 0)); then printf '  %s\n' "$@" >&2; fi
  exit 1
}

# What else a user can do about LibTorch; follows a comma.
own_torch='or name an own LibTorch, 2.11 to 2.15, when configuring: '
own_torch+='-DTorch_DIR=DIR/share/cmake/Torch or -DCMAKE_PREFIX_PATH=DIR'

while (($# > 0)); do
  case $1 in
    --torch | --prefix)
      (($# > 1)) || fail "$1 needs a value; see scripts/setup.sh --help"
      if [[ $1 == --torch ]]; then version=$2; else prefix=$2; fi
      shift
      ;;
    --no-packages) packages=no ;;
    --no-torch) torch=no ;;
    --tools) tools=yes ;;
    --list-packages) list=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "unknown option $1"
      ;;
  esac
  shift
done

# ---------------------------------------------------------------- packages

# at_least FOUND WANTED: FOUND is a version not older than WANTED; both as MAJOR or MAJOR.MINOR.
at_least() {
  local -i found_major=${1%%.*} wanted_major=${2%%.*} found_minor=0 wanted_minor=0
  if [[ $1 == *.* ]]; then found_minor=${1#*.}; fi
  if [[ $2 == *.* ]]; then wanted_minor=${2#*.}; fi
  ((found_major > wanted_major || (found_major == wanted_major && found_minor >= wanted_minor)))
}

# has_command COMMAND OLDEST: it is on PATH and not older than OLDEST. Leaves its version in found_version.
has_command() {
  found_version=
  command -v "$1" >/dev/null || return 1
  local text
  text=$("$1" --version 2>/dev/null) || return 1
  # The first number after a blank: "g++ (Debian 12.2.0-14) 12.2.0", "cmake version 3.25.1", "1.11.1".
  [[ $text =~ (^|[[:space:]])([0-9]+(\.[0-9]+)?) ]] || return 1
  found_version=${BASH_REMATCH[2]}
  at_least "$found_version" "$2"
}

# A command from elsewhere counts as well as the package that would bring it.
present_otherwise() {
  case $1 in
    g++) has_command g++ 12 ;;
    cmake) has_command cmake 3.25 ;;
    ninja-build) has_command ninja 1 ;;
    clang-format) has_command clang-format 14 ;;
    clang-tidy) has_command clang-tidy 14 ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
    python3-venv) python3 -m ensurepip --version >/dev/null 2>&1 ;;
    python3-dev) python3 -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ;;
    *) return 1 ;;
  esac
}

wanted=(g++ cmake python3-venv python3-pip ninja-build libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libxxhash-dev zlib1g-dev libpng-dev libturbojpeg0-dev
  libjs-dygraphs libjs-chart.js nanopb libnanopb-dev libsqlitecpp-dev dataset-fashion-mnist)
if [[ $tools == yes ]]; then
  # python3-dev: torch.compile compiles against Python.h
  wanted+=(libgtest-dev libgmock-dev librapidcheck-dev clang-format clang-tidy fortunes coinor-libclp-dev
    python3-dev groff-base chromium-headless-shell)
fi

install_packages() {
  local name status missing=()
  local -A installed=()
  # dpkg-query fails when one package is unknown, and still lists the others.
  while read -r name status; do
    if [[ $status == 'install ok installed' ]]; then installed[$name]=yes; fi
  done < <(dpkg-query --show --showformat='${Package} ${Status}\n' "${wanted[@]}" 2>/dev/null || true)
  for name in "${wanted[@]}"; do
    if [[ -z ${installed[$name]:-} ]] && ! present_otherwise "$name"; then missing+=("$name"); fi
  done

  if ((${#missing[@]} > 0)); then
    echo "setup: installing ${missing[*]}"
    local next='install them and run again; where packages have other names, run again with --no-packages'
    command -v apt-get >/dev/null ||
      fail "no apt-get here, and these packages are missing: ${missing[*]}" "$next"
    local as_root=()
    if ((EUID != 0)); then
      command -v sudo >/dev/null ||
        fail "neither root nor sudo, and these packages are missing: ${missing[*]}" "$next"
      as_root=(sudo)
    fi
    # A failing update alone is no reason to stop: the lists at hand may do.
    "${as_root[@]}" apt-get update -qq ||
      echo "setup: apt-get update failed; trying with the lists at hand" >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
      fail "apt-get could not install: ${missing[*]}" "$next"
  fi

  # An old system's package may be installed and too old.
  has_command g++ 12 ||
    fail "g++ 12 or newer is needed, found ${found_version:-none}" \
      "put a newer one first on PATH, or set CXX and run with --no-packages"
  has_command cmake 3.25 ||
    fail "CMake 3.25 or newer is needed, found ${found_version:-none}" \
      "put a newer one first on PATH: python3 -m venv DIR && DIR/bin/pip install cmake"
}

# ---------------------------------------------------------------- LibTorch

# The first Python with pip: one from elsewhere may come first on PATH without it.
find_python() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# The part of the unpacked wheels that a program on the CPU uses stays: headers, CMake files, licences,
# libtorch_cpu.so and what `readelf -d` says it needs. The CUDA half (540 MB) and Python's part go.
prune() {
  local torch_lib=$1/torch/lib nvidia=$1/nvidia/cu13
  find "$1/torch" -mindepth 1 -maxdepth 1 ! -name include ! -name lib ! -name share -exec rm -rf {} +
  find "$1" -mindepth 1 -maxdepth 1 ! -name torch ! -name nvidia ! -name '*.dist-info' -exec rm -rf {} +
  rm -rf "$torch_lib"/lib{torch_cuda,torch_cuda_linalg,torch_nvshmem,torch_python,c10_cuda,caffe2_nvrtc}.so \
    "$torch_lib/libshm_windows"
  rm -rf "$nvidia/include"
  find "$nvidia/lib" -mindepth 1 ! -name 'libcudart.so.*' ! -name 'libcupti.so.*' -delete
}

install_torch() {
  local place=$prefix/torch-$version wheels=$prefix/torch-$version.wheels.partial
  if [[ -f $place/torch/lib/libtorch_cpu.so ]]; then return; fi
  local partial=$place.partial requirements=$scripts/torch-$version.txt
  if [[ ! -f $requirements ]]; then
    local known=("$scripts"/torch-*.txt)
    known=("${known[@]##*/torch-}")
    fail "LibTorch $version has no scripts/torch-$version.txt; those with one: ${known[*]%.txt}" \
      "choose one of them, $own_torch"
  fi
  local machine
  machine=$(uname -sm)
  [[ $machine == 'Linux x86_64' ]] ||
    fail "the pinned LibTorch is for Linux x86_64, this is $machine" "${own_torch#or }"
  local python
  python=$(find_python) ||
    fail "python3 has no pip, which downloads LibTorch" "install python3-pip, $own_torch"

  mkdir -p "$prefix"
  exec {lock}>"$prefix/.setup.lock"
  if ! flock --nonblock "$lock"; then
    echo "setup: waiting for another setup that installs into $prefix"
    flock "$lock"
    if [[ -f $place/torch/lib/libtorch_cpu.so ]]; then return; fi
  fi
  rm -rf "$partial" "$wheels" "$place"
  unfinished=("$partial" "$wheels")
  trap 'rm -rf "${unfinished[@]}"' EXIT
  mkdir "$partial" "$wheels"

  echo "setup: LibTorch $version: downloading 550 MB"
  local quiet=()
  if [[ ! -t 1 ]]; then quiet=(--quiet); fi
  # The wheels are named for the oldest glibc of each, hence four platforms. 3.11 picks the pinned file; neap
  # does not run Python, so the Python here may be another.
  "$python" -m pip download "${quiet[@]}" --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
    --require-hashes --requirement "$requirements" --dest "$wheels" --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 ||
    fail "LibTorch $version could not be downloaded (pip's reason is above)" \
      "check the network and the space in $prefix, and run again, $own_torch"

  echo "setup: LibTorch $version: unpacking"
  local wheel
  for wheel in "$wheels"/*.whl; do
    "$python" -m zipfile -e "$wheel" "$partial" ||
      fail "${wheel##*/} could not be unpacked into $prefix" \
        "1.8 GB are needed there for a moment; make room and run again"
    rm "$wheel"
  done
  prune "$partial"
  mv -T "$partial" "$place"
  echo "setup: LibTorch $version is in $place"
}

if [[ $list == yes ]]; then
  printf '%s\n' "${wanted[@]}"
  exit
fi
if [[ $packages == yes ]]; then install_packages; fi
if [[ $torch == yes ]]; then install_torch; fi
