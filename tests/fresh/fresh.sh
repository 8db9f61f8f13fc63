#!/usr/bin/env bash
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# tests/fresh/fresh.sh: runs the README's commands on a machine without the packages that scripts/setup.sh installs.
#
#   tests/fresh/fresh.sh          # as far as a change can break them: `make train` with one step, `make tools`, configuring the tests
#   tests/fresh/fresh.sh --whole  # `make train` and `make test`, whole
#
# A machine that has everything cannot show that a step of the installation is missing. So the script lays an empty layer over the
# machine's own root (overlayfs, in a mount namespace of its own) and purges the packages there. It hides home, /usr/local and the
# environment. The checkout is a copy without build/. The script writes nothing outside build/fresh, except the compiler cache that
# CCACHE_DIR names, where ccache is installed. The cache hides no missing header, because ccache reads each one.
# Needs root, overlayfs and apt-get. Elsewhere it says why it is skipped, and ends with 77.
set -euo pipefail

source=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
place=$source/build/fresh
whole=no
inside=no
for argument in "$@"; do
  case $argument in
    --whole) whole=yes ;;
    --inside) inside=yes ;;  # the script's own call, inside the namespace
    *)
      echo "usage: tests/fresh/fresh.sh [--whole]" >&2
      exit 2
      ;;
  esac
done

skip() {
  echo "fresh: skipped: $1"
  exit 77
}

# Runs a command in the fresh root, in the copy of the checkout, with an empty home and a login's environment. The settings that
# the network needs are kept: proxies, certificates and pip's index.
in_root() {
  local kept=()
  while IFS= read -r name; do kept+=("$name=${!name}"); done < <(compgen -e |
    grep -E '^(PIP_|[A-Za-z]+_proxy$|[A-Z]+_PROXY$|SSL_CERT_|REQUESTS_CA_BUNDLE$|CURL_CA_BUNDLE$|CCACHE_(COMPILERCHECK|DEPEND)$)' || true)
  if [[ -n ${CCACHE_DIR:-} ]]; then
    kept+=(CCACHE_DIR=/home/fresh/ccache CCACHE_BASEDIR=/home/fresh/neap)
  fi
  chroot "$place/root" env -i "${kept[@]}" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/home/fresh LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c "cd /home/fresh/neap; $1"
}

timed() {
  local -i start=SECONDS
  echo "fresh: $1"
  in_root "$1"
  echo "fresh: $1: $((SECONDS - start)) s"
}

if [[ $inside == yes ]]; then
  mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root" 2>/dev/null ||
    skip 'overlayfs cannot be mounted here'
  for folder in proc sys dev; do mount --rbind "/$folder" "$place/root/$folder"; done
  for folder in tmp root home usr/local; do mount -t tmpfs tmpfs "$place/root/$folder"; done
  mkdir -p "$place/root/home/fresh/neap"
  mount --bind "$place/home" "$place/root/home/fresh"  # on the disk, because a build is large
  mkdir -p "$place/home/neap"
  if [[ -n ${CCACHE_DIR:-} ]]; then
    mkdir -p "$CCACHE_DIR" "$place/home/ccache"
    mount --bind "$CCACHE_DIR" "$place/root/home/fresh/ccache"
  fi
  (cd "$source" && git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --null --files-from=- -cf -) | tar -xf - -C "$place/home/neap"
  cp -r "$source/.git" "$place/home/neap/.git"

  # For purge, a package that is not installed is no error, but a name that apt does not know is one.
  mapfile -t packages < <("$source/scripts/setup.sh" --tools --list-packages)
  mapfile -t packages < <(dpkg-query --show --showformat='${Package}\n' "${packages[@]}" 2>/dev/null || true)
  echo "fresh: purging ${packages[*]}"
  in_root "{ apt-mark manual make git ca-certificates && apt-get purge -y -qq --auto-remove ${packages[*]}; } > /tmp/purge.log 2>&1 ||
      { cat /tmp/purge.log; exit 1; }
    ! command -v g++ && ! command -v cmake && ! command -v ninja"
  if [[ $whole == yes ]]; then
    timed 'make train'
    timed 'make test'
  else
    timed 'make train STEPS=1'
    # The tests' packages are not installed yet. Plain CMake must say what installs them.
    in_root 'if cmake -S . -B build/tests -G Ninja -DNEAP_TESTS=ON > build/tests.log 2>&1; then
        echo "fresh: configuring the tests without their packages did not fail"; exit 1
      fi
      grep -q "scripts/setup.sh --tools" build/tests.log || { cat build/tests.log; exit 1; }
      rm -r build/tests'
    timed 'make configure-tests'
    # torch.compile, in the tests of the Python package, compiles against it.
    in_root 'test -e "$(python3 -c "import sysconfig; print(sysconfig.get_path(\"include\"))")/Python.h"'
  fi
  echo 'fresh: passed'
  exit
fi

((EUID == 0)) || skip 'it needs root, for a mount namespace'
command -v apt-get >/dev/null || skip 'it needs apt-get'
command -v unshare >/dev/null && unshare --mount --propagation private true 2>/dev/null ||
  skip 'no mount namespace can be made here'
rm -rf "$place"
mkdir -p "$place"/{upper,work,root,home}
trap 'rm -rf "$place"' EXIT
unshare --mount --propagation private "$0" "$@" --inside
