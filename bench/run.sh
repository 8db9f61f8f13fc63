#!/bin/sh
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# bench/run.sh PROGRAM: writes bench/README.md; the old one stays when the program fails.
set -eu
folder=$(dirname "$0")
"$1" > "$folder/README.md.partial"
mv "$folder/README.md.partial" "$folder/README.md"
cat "$folder/README.md"
