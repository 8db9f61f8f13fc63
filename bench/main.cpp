// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap_bench [--repetitions N] [MODEL... | micro | loader | process] prints the tables of
// bench/README.md, or some of its tables. neap_bench trace MODEL writes a trace of its step to
// standard output, for neap plan. neap_bench offload DIR [MODEL...] measures steps that offload to
// the directory. neap_bench headline FOLDER [deck | transformer | unet ...] writes
// FOLDER/headline.md and pictures. neap_bench picture CSV SVG draws the picture of the README from
// its table.
#include "workload.h"

#include <neap/neap.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace {

const std::vector<std::string> kModels{"resnet", "gpt", "lstm", "mlp", "unet"};

int run(int argc, char** argv) {
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
    if (names[0] == "headline" && names.size() > 1) {
      std::vector<std::string> models(names.begin() + 2, names.end());
      if (models.empty()) models = {"deck", "transformer", "unet"};
      neap::bench::measure_headline(models, names[1]);
    } else if (names[0] == "offload" && names.size() > 1) {
      std::vector<std::string> models(names.begin() + 2, names.end());
      if (models.empty()) models = kModels;
      neap::bench::measure_offload(names[1], models, repetitions);
    } else if (names[0] == "trace" && names.size() == 2) {
      neap::bench::print_trace(names[1]);
    } else if (names[0] == "picture" && names.size() == 3) {
      neap::bench::draw_frontier(names[1], names[2]);
    } else if (names[0] == "micro") {
      neap::bench::measure_micro();
    } else if (names[0] == "loader") {
      neap::bench::measure_loader();
    } else if (names[0] == "process") {
      neap::bench::measure_process_size(argv[0]);
    } else {
      neap::bench::measure_models(names, repetitions);
    }
    return 0;
  }
  std::printf(
      "# Measured\n\n"
      "`make bench`, %s, one thread. Steps of all rows of a table run in turn, in "
      "one process, %d times; "
      "figures are medians (and quartiles) of ratios to the plain step of the same turn. A step is "
      "zero_grad, forward, "
      "loss, backward, optimizer. Shares: (peak - base) / (plain peak - base), with a budget "
      "by bytes reserved, else by bytes live.\n\n## Training steps\n",
      neap::bench::machine().c_str(), repetitions);
  std::fflush(stdout);
  neap::bench::measure_models(kModels, repetitions);
  neap::bench::measure_micro();
  neap::bench::measure_loader();
  neap::bench::measure_process_size(argv[0]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "neap_bench: %s\n", error.what());
    return 1;
  }
}
