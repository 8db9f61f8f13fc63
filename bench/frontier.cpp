// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Draws the picture of the README: time against memory, of neap and of what people use in Python.
// The lines of the file are way,share,time. `share` is in percent of plain PyTorch's memory, and
// `time` is relative to its time. The header line, empty lines and lines that begin with # are
// skipped. Ways with more than two points are drawn as lines.
#include "workload.h"

#include <neap/machine.h>
#include <neap/report.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace neap::bench {

void draw_frontier(const std::string& csv, const std::string& picture) {
  std::ifstream file(csv);
  if (!file) throw std::runtime_error(csv + " cannot be read");
  report::Plot plot;
  plot.title = "ResNet of 16 blocks: a training step";
  plot.x.label = "memory of a step, % of plain PyTorch's";
  plot.y.label = "time of a step, plain PyTorch = 1";
  bool names = true;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (std::exchange(names, false)) continue;
    std::istringstream cells(line);
    std::string way, share, time;
    std::getline(cells, way, ',');
    std::getline(cells, share, ',');
    std::getline(cells, time, ',');
    const auto known = std::ranges::find(plot.series, way, &report::Series::name);
    report::Series& series = known != plot.series.end()
                                 ? *known
                                 : plot.series.emplace_back(report::Series{way, {}, false});
    series.points.push_back({std::stod(share), std::stod(time)});
  }
  for (report::Series& series : plot.series) series.line = series.points.size() > 2;
  OutputFile drawn(picture);
  drawn.append(report::svg(plot));
  drawn.finish();
}

}  // namespace neap::bench
