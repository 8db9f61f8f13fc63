#!/bin/sh
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# bench/run.sh PROGRAM FILE: writes bench/FILE; the old one stays when the program fails.
set -eu
folder=$(dirname "$0")
"$1" > "$folder/$2.partial"
mv "$folder/$2.partial" "$folder/$2"
cat "$folder/$2"
