// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the user asked for: options of the command line, and the TOML file of --config. No LibTorch
// here.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

// The command was used wrongly. The message is printed, and the exit code is 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Batch sizes for when neither the user nor the model gives one.
inline constexpr std::int64_t kTrainingBatch = 128;
inline constexpr std::int64_t kVerifyingBatch = 32;
inline constexpr std::int64_t kTracingBatch = 32;
// The value of --batch-size auto.
inline constexpr std::int64_t kAutomaticBatch = -1;

// Of the command's own models; nullopt: as they are. Each has a part of them: see built_in.h.
struct ModelSizes {
  std::optional<std::int64_t> layers, blocks, width, heads;
};
inline constexpr std::int64_t kMostOfASize = 1'000'000;

// Options of all commands that train.
struct RunOptions {
  std::string model = "resnet";  // or the path of a library, see names_library()
  ModelSizes sizes;
  bool bf16 = false;
  std::string optimizer;  // empty: the model's, or adamw
  double lr = 0;          // 0: the model's or the optimizer's
  std::string budget = "none";
  std::int64_t seed = 1;
  std::optional<double> weight_decay;  // nullopt: the optimizer's
  std::vector<double> betas;           // two, of adam and adamw; empty: LibTorch's
  double label_smoothing = 0;
  std::int64_t threads = 0;  // 0: LibTorch's default
  bool json = false;
};

struct TrainingOptions : RunOptions {
  std::string data;  // see data::open(); empty: the model's own batches, or fashion-mnist
  std::string split, normalize, augment;  // see data_options.h; empty: not given
  std::optional<std::int64_t> context;    // tokens of a sample; nullopt: 256
  std::int64_t batch_size = 0;  // 0: the model's, or the command's default; or kAutomaticBatch
  std::int64_t epochs = 1;
  std::int64_t steps = 0;  // 0: whole epochs
  std::int64_t accumulate = 1;
  std::string policy = "planned";  // or online, or a plan's file
  std::string plan_cache;          // a directory; empty: none
  std::string offload;             // a directory; empty: nothing is copied out
  std::string offload_limit;       // bytes; empty: what the file system gives
  std::string report;              // a page of HTML; empty: none
  std::string out;                 // the folder of the snapshots; empty: none
  std::string save_every;          // steps, or a time; empty: at the end only
  std::int64_t keep = 3;           // snapshots; 0: all
  // The folder to go on from; nullopt: begin. Empty: `out`.
  std::optional<std::string> resume;
  // Go on where these differ: see train::LoadOptions.
  bool allow_other_threads = false, allow_other_torch = false, allow_other_kernels = false;
  // Of evaluate, predict and import: a file, a snapshot, or a folder of snapshots.
  std::string weights;
  std::vector<std::string> class_names;  // of the training of `weights`; empty: not known
  bool whole = false;                    // all of the data is the test set
  std::string init;                      // as `weights`, to begin from; empty: none
  std::string schedule = "cosine";
  std::optional<std::int64_t> warmup;  // steps; nullopt: a twentieth
  double clip_norm = 0;                // 0: none
  std::int64_t eval_every = 0;         // steps; 0: at the end only
  std::int64_t early_stop = 0;         // evaluations without a better one; 0: never
  bool verify = false;                 // what operators make again
  bool no_test = false;
  bool quiet = false;
};

struct PredictOptions : TrainingOptions {
  std::string file;  // for the predictions; -: standard output; empty: a table
  std::int64_t top = 1;
  std::string prompt;  // a text to go on with; empty: none
  std::int64_t tokens = 200;
};

struct ExportOptions {
  std::string from;   // as `weights`
  bool best = false;  // not the newest
  std::string out;    // a file
};

// Options of analyze, bench and max-batch.
struct MeasuringOptions : RunOptions {
  std::vector<std::int64_t> input;  // of a sample; empty: the model's own
  std::vector<std::int64_t> batch_sizes = {8, 16, 32};
  std::int64_t repetitions = 5;
  std::vector<std::string> budgets = {"50%", "30%"};
  std::string margin = "0%";
  std::optional<double> time_limit_seconds;
  std::string csv, svg;  // files; empty: none
  std::string report;    // a page of HTML; empty: none
};

struct TracingOptions : RunOptions {
  std::vector<std::int64_t> input;  // of a sample; empty: the model's own
  std::int64_t batch_size = 0;      // 0: the model's, or the command's default
  std::int64_t repetitions = 3;
  std::string out;  // a file; -: standard output; empty: none
};

// One of `file` and `model` is empty. One of `budget`, `frontier` and `smallest` is used: see
// check_plan().
struct PlanOptions : TracingOptions {
  std::string file;  // a trace
  bool frontier = false;
  bool smallest = false;
  bool format_rules = false;  // count by the rules of the format, not by the engine's
  std::string bandwidth;      // of copies to a tier; empty: as in the trace
  std::int64_t points = 20;
  std::optional<double> time_limit_seconds;
  std::string csv, svg;  // files; empty: none
  std::string report;    // a page of HTML; empty: none
};

struct AdviseOptions : TracingOptions {
  std::string csv;  // a file; empty: none
};

// Options of profile, summary and explain. One of `file` and `model` is empty; summary has no file.
struct ViewOptions : TracingOptions {
  std::string file;           // a trace
  std::string sort = "tree";  // of summary
};

struct ReportOptions {
  std::vector<std::string> files;  // traces, folders of neap train --out, or their lines
  std::string budget;              // of the traced steps; empty: the plain step alone
  std::int64_t points = 12;        // of the frontier
  bool no_frontier = false;
  std::string format = "html";  // or chrome, memory-viz, tensorboard, csv, json
  std::string out;              // a folder for tensorboard and csv
};

struct RunsOptions {
  std::string action;                // list, show or compare
  std::vector<std::string> folders;  // of neap train --out, or above such ones
  std::string where, sort;           // parts of a SELECT; empty: all; as they are found
  bool json = false;
};

struct DoctorOptions {
  std::string offload;  // a directory; empty: none
  bool json = false;
};

enum class Command {
  None,
  Train,
  Evaluate,
  Predict,
  Export,
  Import,
  Verify,
  Analyze,
  Bench,
  MaxBatch,
  Trace,
  Plan,
  Advise,
  Profile,
  Summary,
  Explain,
  Report,
  Runs,
  Doctor
};

struct CommandLine {
  Command command = Command::None;
  TrainingOptions training;
  PredictOptions predicting;
  ExportOptions exporting;
  MeasuringOptions measuring;
  TracingOptions tracing;
  PlanOptions planning;
  AdviseOptions advising;
  ViewOptions viewing;
  ReportOptions reporting;
  RunsOptions listing;
  DoctorOptions examining;
  int exit_code = 0;  // used when there is no command, because help was shown or the use was wrong

  [[nodiscard]] std::int64_t threads() const {
    if (command == Command::Train || command == Command::Evaluate || command == Command::Verify ||
        command == Command::Import) {
      return training.threads;
    }
    if (command == Command::Predict) return predicting.threads;
    if (command == Command::Trace) return tracing.threads;
    if (command == Command::Advise) return advising.threads;
    if (command == Command::Profile || command == Command::Summary || command == Command::Explain) {
      return viewing.threads;
    }
    return command == Command::Plan ? planning.threads : measuring.threads;
  }
};

// Also prints help, and messages about wrong use.
CommandLine parse_command_line(int argc, char** argv);

// CLI11 ignores empty items. So 8,,16 would be two batches, and the loss of a mistyped third one
// would go unseen. Throws: UsageError for a list with such an item. `name`: of the option.
void refuse_empty_item(const std::string& name, const std::string& list);

// True when --model names a library with the user's own model: a path with a slash, or FILE.so.
bool names_library(const std::string& model);
// sgd, adam, adamw.
bool is_optimizer(const std::string& name);

}  // namespace neap::app
