// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Measures how large the process gets. Each measurement runs in a process of its own. What the
// system counts is not what the allocator counts.
#include "workload.h"

#include <neap/neap.h>

#include <cstdio>
#include <memory>

namespace neap::bench {
namespace {

struct Measured {
  long long resident_kib = 0;
  long long budget_bytes = 0;
  long long above_bytes = 0;
};

Measured run_child(const char* program, const std::string& name, long long budget_bytes) {
  const std::string command =
      std::string(program) + " --measured " + name + " " + std::to_string(budget_bytes);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), &pclose);
  Measured measured;
  if (!pipe || std::fscanf(pipe.get(), "%lld %lld %lld", &measured.resident_kib,
                           &measured.budget_bytes, &measured.above_bytes) != 3) {
    std::fprintf(stderr, "bench: '%s' did not say what it measured\n", command.c_str());
  }
  return measured;
}

double mib(long long bytes) { return static_cast<double>(bytes) / 1048576.0; }

}  // namespace

// The name "idle" loads everything and computes one small product. budget_bytes 0 means plain.
int be_measured(const std::string& name, long long budget_bytes) {
  Measured measured;
  if (name == "idle") {
    const at::Tensor x = torch::randn({64, 64}, torch::requires_grad());
    torch::conv2d(x.mm(x).view({1, 4, 32, 32}), torch::randn({4, 4, 3, 3})).sum().backward();
  } else {
    Workload workload = make_workload(name);
    for (int step = 0; step < 3; ++step) {
      workload.optimizer->zero_grad();
      memory::trim();
      memory::reset_peak();
      const std::int64_t base = memory::usage().live;
      if (budget_bytes == 0) {
        workload.step(workload.loss);
        measured.above_bytes = memory::usage().peak - base;
        measured.budget_bytes = memory::usage().peak;
      } else {
        measured.budget_bytes = budget_bytes;
        Scope scope({.budget = Bytes(budget_bytes), .policy = Online{}});
        workload.step(workload.loss);
        scope.end();
      }
    }
  }
  measured.resident_kib = memory::process_memory().peak_resident >> 10;
  std::printf("%lld %lld %lld\n", measured.resident_kib, measured.budget_bytes,
              measured.above_bytes);
  return 0;
}

void measure_process_size(const char* program) {
  std::printf(
      "\n## Process size\n\nLargest resident size (VmHWM) above that of an idle program, each in a "
      "process of its "
      "own.\n\n| model | plain, MiB | share | budget, MiB | process, MiB | above the budget, MiB "
      "|\n|---|---|---|---|---|---|\n");
  const long long idle = run_child(program, "idle", 0).resident_kib * 1024;
  const std::vector<std::pair<std::string, int>> cases{
      {"resnet", 26}, {"gpt", 25}, {"mlp", 54}, {"unet", 50}};
  for (const auto& [name, percent] : cases) {
    const Measured plain = run_child(program, name, 0);
    const long long base = plain.budget_bytes - plain.above_bytes;
    const Measured inside = run_child(program, name, base + plain.above_bytes * percent / 100);
    const long long size = inside.resident_kib * 1024 - idle;
    std::printf("| %s | %.0f | %d %% | %.1f | %.1f | %+.1f |\n", name.c_str(),
                mib(plain.resident_kib * 1024 - idle), percent, mib(inside.budget_bytes), mib(size),
                mib(size - inside.budget_bytes));
  }
  std::fflush(stdout);
}

}  // namespace neap::bench
