// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap doctor: reports what neap found on this machine, and tests that its bits are equal here.
// Of a directory for offloading it says how fast it is.
#include "bits.h"
#include "commands.h"

#include <neap/machine.h>
#include <neap/neap.h>
#include <neap/offload.h>
#include <neap/train.h>
#include <neap/version.h>

#include <dlfcn.h>
#include <torch/torch.h>
#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace neap::app {
namespace {

class Report {
 public:
  void row(const std::string& name, const std::string& value) { rows_.emplace_back(name, value); }
  void problem(const std::string& name, const std::string& what) {
    rows_.emplace_back(name, what);
    problems_.push_back(name + ": " + what);
  }
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }
  [[nodiscard]] std::string text() const { return table(rows_); }

 private:
  std::vector<Row> rows_;
  std::vector<std::string> problems_;
};

std::string library_path() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&at::get_num_threads), &info) == 0) return "unknown";
  return info.dli_fname;
}

// Trains a small network with dropout and BatchNorm, plain and with room for about half of its
// activations, and compares the bits.
std::string self_test() {
  std::int64_t replays = 0;
  const auto run = [&](bool plain) {
    torch::manual_seed(3);
    torch::nn::Sequential model;
    for (int layer = 0; layer < 6; ++layer) {
      model->push_back(torch::nn::Linear(128, 128));
      model->push_back(torch::nn::BatchNorm1d(128));
      model->push_back(torch::nn::GELU());
      model->push_back(torch::nn::Dropout(0.1));
    }
    torch::optim::AdamW optimizer(model->parameters());
    const at::Tensor x = torch::randn({256, 128});
    const train::Loss loss = [&](const at::Tensor& in, const at::Tensor& target) {
      return torch::mse_loss(model->forward(in), target);
    };
    train::TrainerOptions how{.plain = plain};
    if (!plain) {
      memory::trim();
      how.budget = Bytes(memory::usage().live + (2 << 20));
    }
    train::Trainer trainer(loss, optimizer, how);
    std::vector<train::State> states;
    for (int step = 0; step < 2; ++step) {
      const train::StepResult result = trainer.step(x, x);
      states.push_back(train::State::of(*model, optimizer, result.loss));
      replays += result.stats.replays;
    }
    return states;
  };
  const auto expected = run(true);
  const auto found = run(false);
  for (std::size_t step = 0; step < expected.size(); ++step) {
    const std::string difference = bits_differ(static_cast<std::int64_t>(step), expected[step],
                                               found[step], [&] { return run(true)[step]; });
    if (!difference.empty()) throw Error(difference);
  }
  if (replays == 0) throw Error("nothing was replayed, so nothing was tested");
  return "equal bits: " + std::to_string(expected.back().parts()) + " tensors, " +
         std::to_string(replays) + " operators replayed";
}

std::string text_of(const offload::Rates& rates) {
  if (rates.out == 0 || rates.in == 0) return "not measured; is the disk full?";
  const auto one = [](double rate) {
    return Bytes(static_cast<std::int64_t>(rate)).text() + " a second";
  };
  return one(rates.out) + " there, " + one(rates.in) + " back";
}

void add_survey(Report& report, const std::string& directory, const offload::Survey& found) {
  report.row("offload to", directory);
  const std::string kind = found.file_system.empty() ? "unknown" : found.file_system;
  report.row("its file system",
             kind + (found.in_memory ? ": that is memory, so nothing is won there" : "") +
                 (found.unnamed ? "" : "; a kill in the wrong moment leaves an empty file"));
  report.row("of it free", Bytes(found.free).text());
  report.row(found.in_cache ? "through the cache of files" : "buffered, with the disk",
             text_of(found.buffered));
  report.row("direct", found.direct ? text_of(*found.direct) : "the file system cannot");
  report.row("taken", found.uses_direct ? "direct" : "buffered");
}

nlohmann::ordered_json json_of(const std::string& directory, const offload::Survey& found) {
  const auto rate = [](double bytes_per_s) {
    return bytes_per_s > 0 ? nlohmann::ordered_json(bytes_per_s) : nlohmann::ordered_json();
  };
  const offload::Rates direct = found.direct.value_or(offload::Rates{});
  return {{"directory", directory},
          {"file_system", text_or_null(found.file_system)},
          {"free_bytes", found.free},
          {"unnamed_files", found.unnamed},
          {"in_memory", found.in_memory},
          {"in_cache", found.in_cache},
          {"buffered_out_bytes_per_s", rate(found.buffered.out)},
          {"buffered_in_bytes_per_s", rate(found.buffered.in)},
          {"direct_out_bytes_per_s", rate(direct.out)},
          {"direct_in_bytes_per_s", rate(direct.in)},
          {"uses_direct", found.uses_direct}};
}

}  // namespace

int doctor(const DoctorOptions& options, Output& output) {
  // First, since it may be refused.
  std::optional<offload::Survey> survey;
  if (!options.offload.empty()) survey = offload::survey(options.offload);
  Report report;
  report.row("neap", NEAP_VERSION);
  report.row("LibTorch", TORCH_VERSION);
  report.row("its library", library_path());
  try {
    report.row("dispatch key", interception_key());
  } catch (const Error& error) {
    report.problem("dispatch key", error.what());
  }
  if (memory::installed() && c10::GetAllocator(c10::kCPU)->raw_deleter() != nullptr &&
      torch::ones({1}).storage().data_ptr().get_deleter() ==
          c10::GetAllocator(c10::kCPU)->raw_deleter() &&
      memory::usage().allocations > 0) {
    report.row("allocator", "installed");
  } else {
    report.problem("allocator",
                   "LibTorch does not allocate through neap: something else was registered later, "
                   "so budgets would not be kept");
  }
  report.row("bytes not seen", std::to_string(memory::usage().unseen));
  report.row("threads", std::to_string(at::get_num_threads()));
  report.row("oneDNN", !at::hasMKLDNN()                          ? "absent"
                       : at::globalContext().userEnabledMkldnn() ? "on"
                                                                 : "off");
  const machine::Memory memory = machine::memory();
  report.row("memory", Bytes(memory.total).text());
  report.row("of it available", Bytes(memory.available).text());
  report.row("control group's limit", memory.limit ? Bytes(*memory.limit).text() : "none");
  if (memory.limit) report.row("left below it", Bytes(memory.limit_left).text());
  try {
    report.row("self-test", self_test());
  } catch (const std::exception& error) {
    report.problem("self-test", error.what());
  }
  if (options.json) {
    output.json(nlohmann::ordered_json{
        {"neap_version", NEAP_VERSION},
        {"libtorch_version", TORCH_VERSION},
        {"problems", report.problems()},
        {"offload", survey ? json_of(options.offload, *survey) : nlohmann::ordered_json()}});
    return report.problems().empty() ? 0 : 1;
  }
  if (survey) add_survey(report, options.offload, *survey);
  output.line(report.text());
  if (report.problems().empty()) return 0;
  output.line(std::to_string(report.problems().size()) +
              " of these break neap's promise: correct them, or train without it");
  return 1;
}

}  // namespace neap::app
