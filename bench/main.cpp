// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap_bench [--repetitions N] [MODEL... | micro | process]: prints bench/README.md, or single tables of it.
#include "workload.h"

#include <neap/neap.h>

#include <ATen/Version.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  neap::install();
  at::set_num_threads(1);
  std::vector<std::string> names;
  int repetitions = 5;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--measured" && i + 2 < argc) {
      return neap::bench::be_measured(argv[i + 1], std::atoll(argv[i + 2]));
    }
    if (argument == "--repetitions" && i + 1 < argc) {
      repetitions = std::atoi(argv[++i]);
    } else {
      names.push_back(argument);
    }
  }
  if (!names.empty()) {
    if (names[0] == "micro") {
      neap::bench::measure_micro();
    } else if (names[0] == "process") {
      neap::bench::measure_process_size(argv[0]);
    } else {
      neap::bench::measure_models(names, repetitions);
    }
    return 0;
  }
  std::printf(
      "# Measured\n\n"
      "`make bench`, %s, %s, LibTorch %s, one thread. Steps of all rows of a table run in turn, in "
      "one process, %d times; "
      "figures are medians (and quartiles) of ratios to the plain step of the same turn. A step is "
      "zero_grad, forward, "
      "loss, backward, optimizer. Shares: (peak - base) / (plain peak - base), with a budget "
      "by bytes reserved, else by bytes live.\n\n## Training steps\n",
      today().c_str(), processor().c_str(), TORCH_VERSION, repetitions);
  std::fflush(stdout);
  neap::bench::measure_models({"resnet", "gpt", "mlp", "unet"}, repetitions);
  neap::bench::measure_micro();
  neap::bench::measure_process_size(argv[0]);
  return 0;
}
