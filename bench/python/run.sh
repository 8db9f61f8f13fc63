#!/bin/sh
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# bench/python/run.sh PYTHON [OPTION...]: writes bench/python.md, .csv and .svg, a process of
# side_by_side.py with these options for each model. The old ones stay when anything fails.
set -eu
python=$1
shift
cd "$(dirname "$0")"
rm -f ../python.csv.partial
"$python" costs.py > ../python.md.partial
measure() {
  "$python" side_by_side.py --csv ../python.csv.partial "$@" >> ../python.md.partial
}
for model in resnet gpt lstm mlp unet; do measure "$@" "$model"; done
# A step of these takes ten seconds.
for model in llama gpt2; do measure --rounds 3 --shares 50,30 "$@" "$model"; done
"$python" picture.py ../python.csv.partial ../python.svg.partial
for kind in md csv svg; do
  mv "../python.$kind.partial" "../python.$kind"
done
cat ../python.md
