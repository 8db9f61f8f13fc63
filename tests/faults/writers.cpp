// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "faults/writers.h"

#include "autoplan/plan_cache.h"
#include "run_record.h"
#include "snapshot/saved_training.h"

#include <neap/graph.h>
#include <neap/machine.h>

#include <unistd.h>

#include <algorithm>
#include <iterator>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;
using train::Training;

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return "no file";
  return {std::istreambuf_iterator<char>(file), {}};
}

// A training after its second step, made once: forks have it too.
Training& trained() {
  static auto* const one = [] {
    auto* const made = new Training;
    made->train(0, 2);
    return made;
  }();
  return *one;
}

void save(const fs::path& folder, std::int64_t step, float weight,
          train::SaveOptions options = {}) {
  const Training& run = trained();
  {
    const torch::NoGradGuard no_grad;
    run.model->parameters()[0].fill_(weight);
  }
  train::save(folder, *run.model, *run.optimizer, {.step = step}, options);
}

// The step and the weights that a training would go on with.
std::string goes_on_with(const fs::path& folder) {
  const auto newest = train::newest_snapshot(folder);
  if (!newest) return "no snapshot";
  Training other(train::adamw, 5);
  const train::Position position = train::load(*newest, *other.model, *other.optimizer);
  const float weight = other.model->parameters()[0].flatten()[0].item<float>();
  const bool is_whole = at::equal(other.model->parameters()[1], trained().model->parameters()[1]);
  return "step " + std::to_string(position.step) + ", " + std::to_string(weight) +
         (is_whole ? "" : ", damaged");
}

void resume(const fs::path& folder) {
  std::vector<std::string> damaged;
  const auto newest = train::newest_snapshot(folder, &damaged);
  if (!newest) {
    if (damaged.empty()) throw WrongResult();
    throw Error(damaged.front());
  }
  Training other(train::adamw, 5);
  const std::int64_t step = train::load(*newest, *other.model, *other.optimizer).step;
  const float weight = other.model->parameters()[0].flatten()[0].item<float>();
  // No file was damaged, so no fault may lead back to step 1.
  if (step != 2 || weight != 2) throw WrongResult();
}

Writer snapshot(std::string name, std::function<void(const fs::path&)> prepare,
                std::function<void(const fs::path&)> act) {
  return {std::move(name), std::move(prepare), std::move(act),
          [](const fs::path& folder) { return goes_on_with(folder / "runs/1"); }};
}

Writer file(const std::string& name, const std::string& text, bool replaces) {
  const auto put = [name](const fs::path& folder, const std::string& content) {
    OutputFile out(folder / name);
    out.append(std::string_view(content).substr(0, content.size() / 2));
    out.append(std::string_view(content).substr(content.size() / 2));
    out.finish();
  };
  return {"file " + name,
          [=](const fs::path& folder) {
            if (replaces) put(folder, "what was there before");
          },
          [=](const fs::path& folder) { put(folder, text); },
          [name](const fs::path& folder) { return content_of(folder / name); }};
}

std::string trace_text() {
  graph::Trace trace{.label = std::string(2000, 'x'), .torch = "none"};
  std::ostringstream text;
  graph::write_trace(trace, text);
  return text.str();
}

autoplan::CachedStep cached_step(std::int64_t peak) {
  autoplan::CachedStep cached{.budget = 4096, .base = 1000, .margin = 16, .step = {}};
  cached.step.calls = {11, 22, 33};
  cached.step.operators = {{0, 0, 0, 0, 0, 0, 1}, {1, 2, 2, 3, 3, 4, 4}, {4, 4, 4, 4, 4, 4, 4}};
  cached.step.blocks = {5, 6, 7, 2};
  cached.step.predicted_peak = peak;
  return cached;
}

std::string cached_peak(const fs::path& folder) {
  const autoplan::CachedSteps found = autoplan::read_cached(folder / "cache/plans", 4096, false, 4);
  if (!found.ignored.empty()) return found.ignored.front();
  return found.steps.empty() ? "none" : std::to_string(found.steps.front().step.predicted_peak);
}

// run.jsonl of a training that went on after step 2.
void record_run(const fs::path& folder, std::int64_t first, std::int64_t last) {
  app::RunRecord record(folder, {{"event", "run"}}, first, false);
  std::string wrong;
  for (std::int64_t step = first + 1; step <= last; ++step) {
    const std::string one = record.add({{"event", "step"}, {"step", step}});
    if (wrong.empty()) wrong = one;
  }
  if (!wrong.empty()) throw Error(wrong);
}

// The steps that a report would draw. Those up to 2 were there before.
std::string recorded(const fs::path& folder) {
  std::istringstream lines(content_of(folder / "run.jsonl"));
  std::string steps;
  for (std::string line; std::getline(lines, line);) {
    const auto one = nlohmann::json::parse(line, nullptr, false);
    if (one.is_object() && one.contains("step")) steps += std::to_string(one["step"].get<int>());
  }
  return steps;
}

}  // namespace

std::vector<Writer> writers() {
  const auto nothing = [](const fs::path&) {};
  trained();
  std::vector<Writer> all;
  all.push_back(snapshot("first snapshot", nothing,
                         [](const fs::path& folder) { save(folder / "runs/1", 1, 1); }));
  all.push_back(snapshot(
      "next snapshot", [](const fs::path& folder) { save(folder / "runs/1", 1, 1); },
      [](const fs::path& folder) { save(folder / "runs/1", 2, 2, {.keep = 1}); }));
  all.push_back(snapshot(
      "snapshot of the same step", [](const fs::path& folder) { save(folder / "runs/1", 1, 1); },
      [](const fs::path& folder) { save(folder / "runs/1", 1, 2); }));
  all.push_back(snapshot(
      "snapshot after a kill",
      [](const fs::path& folder) {
        save(folder / "runs/1", 1, 1);
        save(folder / "runs/1", 2, 2);
        fs::copy(folder / "runs/1/step-0000000001", folder / "runs/1/.step-0000000002.old");
        fs::copy(folder / "runs/1/step-0000000001", folder / "runs/1/.step-0000000003.new");
      },
      [](const fs::path& folder) { save(folder / "runs/1", 3, 3); }));
  all.push_back(snapshot(
      "snapshot before a later one", [](const fs::path& folder) { save(folder / "runs/1", 5, 5); },
      [](const fs::path& folder) {
        try {
          save(folder / "runs/1", 3, 3);
        } catch (const InvalidArgument&) {  // the later one is whole and stays
        }
      }));
  all.push_back(snapshot(
      "resume",
      [](const fs::path& folder) {
        save(folder / "runs/1", 1, 1);
        save(folder / "runs/1", 2, 2);
      },
      [](const fs::path& folder) { resume(folder / "runs/1"); }));
  all.push_back(
      {"weights", nothing,
       [](const fs::path& folder) {
         train::export_weights(*trained().model, folder / "weights.safetensors");
       },
       [](const fs::path& folder) { return content_of(folder / "weights.safetensors"); }});
  all.push_back(file("trace.jsonl", trace_text(), /*replaces=*/false));
  all.push_back(file("plan.jsonl", trace_text(), /*replaces=*/true));
  all.push_back(file("report.html.gz", trace_text(), /*replaces=*/true));
  all.push_back({"plan cache", nothing,
                 [](const fs::path& folder) {
                   autoplan::write_cached(folder / "cache/plans", cached_step(4000));
                 },
                 cached_peak});
  all.push_back({"plan cache, a better plan",
                 [](const fs::path& folder) {
                   autoplan::write_cached(folder / "cache/plans", cached_step(4000));
                 },
                 [](const fs::path& folder) {
                   autoplan::write_cached(folder / "cache/plans", cached_step(3000));
                   autoplan::read_cached(folder / "cache/plans", 4096, false, 4);
                 },
                 cached_peak});
  all.push_back({"nothing: two steps", nothing,
                 [](const fs::path&) {
                   Training run;
                   run.train(0, 2, Bytes(1 << 20));
                 },
                 [](const fs::path&) { return std::string(); }});
  all.push_back({"run.jsonl", [](const fs::path& folder) { record_run(folder, 0, 2); },
                 [](const fs::path& folder) { record_run(folder, 2, 5); }, recorded,
                 /*adds_lines=*/true});
  return all;
}

std::vector<std::string> names_below(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const bool is_hidden = entry.path().filename().string().starts_with('.');
    if (!is_hidden && entry.is_directory()) continue;
    names.push_back(fs::relative(entry.path(), folder).string());
  }
  std::ranges::sort(names);
  return names;
}

fs::path fast_folder() {
  const fs::path memory = "/dev/shm";
  const fs::path in =
      ::access(memory.c_str(), W_OK | X_OK) == 0 ? memory : fs::temp_directory_path();
  const fs::path folder = in / ("neap_faults_" + std::to_string(::getpid()));
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

}  // namespace neap::faults
