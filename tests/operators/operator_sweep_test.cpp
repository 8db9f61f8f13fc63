// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Runs every operator of LibTorch that works here, with arguments made from its schema. The
// operator runs plainly, then in a region that evicts its arguments and results, which a later
// operator or the backward brings back. All bytes must be the same. This proves the table of
// exceptions in src/intercept/operators.cpp: an operator that writes, draws or keeps something that
// its schema does not say would give other bytes here.
#include "operators/arguments.h"
#include "operators/sweep.h"

#include <gtest/gtest.h>
#include <neap/neap.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>

namespace neap::test {
namespace {

struct Silent final : c10::WarningHandler {
  void process(const c10::Warning& /*warning*/) override {}
};

// Some operators of LibTorch crash on arguments that their schema allows. So child processes run
// the sweep, each from where the last one ended. They report which operator they begin, when neap
// sees it, and its row.
class Children {
 public:
  explicit Children(std::vector<c10::OperatorHandle> ops) : ops_(std::move(ops)) {}

  std::map<std::string, Row> run() {
    while (rows_.size() < ops_.size()) run_one();
    return std::move(rows_);
  }

 private:
  void run_one() {
    const std::size_t first = rows_.size();
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("no child process");
    if (child == 0) {
      ::close(ends[0]);
      for (std::size_t i = first; i < ops_.size(); ++i) {
        const Row row = sweep(ops_[i], [&] { say(ends[1], "reached neap\n"); });
        say(ends[1], "row\n" + std::to_string(static_cast<int>(row.forward)) + '\n' + row.backward +
                         '\n' + row.note + '\n');
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    listen(::fdopen(ends[0], "r"));
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    add({.forward = reached_ ? Result::Differs : Result::NotCalled,
         .note = reached_ ? "crashes under neap" : "crashes in plain LibTorch"});
  }

  static void say(int end, const std::string& text) {
    if (::write(end, text.data(), text.size()) < 0) ::_exit(1);
  }

  void listen(std::FILE* pipe) {
    std::array<char, 4096> line{};
    const auto next = [&] {
      if (std::fgets(line.data(), line.size(), pipe) == nullptr) return std::string();
      std::string text(line.data());
      text.pop_back();
      return text;
    };
    for (std::string text = next(); !text.empty(); text = next()) {
      if (text == "reached neap") {
        reached_ = true;
        continue;
      }
      Row row;
      row.forward = static_cast<Result>(std::stoi(next()));
      row.backward = next();
      row.note = next();
      add(row);
    }
    std::fclose(pipe);
  }

  void add(const Row& row) {
    reached_ = false;
    rows_.emplace(c10::toString(ops_[rows_.size()].operator_name()), row);
  }

  std::vector<c10::OperatorHandle> ops_;
  std::map<std::string, Row> rows_;
  bool reached_ = false;
};

std::map<std::string, Row> sweep_all() {
  std::vector<c10::OperatorHandle> ops;
  std::map<std::string, Row> uncalled;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    const auto op = c10::Dispatcher::singleton().findOp(name);
    if (!op || !op->hasSchema() || !name.name.starts_with("aten::")) continue;
    if (const std::string_view reason = why_not_to_call(name.name); reason.empty()) {
      ops.push_back(*op);
    } else {
      uncalled[c10::toString(name)].note = reason;
    }
  }
  std::map<std::string, Row> rows = Children(std::move(ops)).run();
  rows.merge(uncalled);
  return rows;
}

constexpr const char* kHeader = R"(# Operators

What neap does with each operator of LibTorch's `aten` namespace, as the operator sweep found it: arguments are made from the
schema, the operator runs plainly and in regions that evict its arguments and results, and all bytes must be the same: of its
results, of what it wrote, of the generator, and of the gradients where it has a backward. An operator that neap does not find
replayable is pinned: its results stay in memory. Nothing here is a white list: rules come from schemas and tags, and the
exceptions with their reasons are one table in `src/intercept/operators.cpp`.

The sweep wrote this file: `NEAP_WRITE_DOCS=1 build/bin/neap_operators_tests`, with LibTorch )";

struct Section {
  Result result;
  const char* title;
  const char* text;
};
constexpr std::array kSections{
    Section{Result::Replayed, "Evicted and made again, with equal bits",
            "(b): so are the gradients of its backward."},
    Section{
        Result::View, "Views and operators that return an argument",
        "They share storages: nothing of their own to evict. (b): their backward has equal bits."},
    Section{
        Result::Pinned, "Pinned, by reason",
        "Called with equal bits; the results stay in memory. (b): their backward has equal bits."},
    Section{Result::NoTensor, "Without tensors among their results",
            "They read evicted arguments."},
    Section{Result::PlainDiffers, "Not comparable",
            "Called twice, plain LibTorch gives other bytes: memory that was not written."},
    Section{Result::NotCalled, "Not called, by reason",
            "No dense CPU kernel, or no arguments that the sweep knows how to make."},
};

void write_report(std::ostream& out, const std::map<std::string, Row>& rows) {
  out << kHeader << TORCH_VERSION << ".\n\n| | operators |\n|---|---|\n";
  std::map<Result, int> counts;
  for (const auto& [name, row] : rows) ++counts[row.forward];
  for (const Section& section : kSections) {
    out << "| " << section.title << " | " << counts[section.result] << " |\n";
  }
  for (const Section& section : kSections) {
    std::map<std::string, std::string> names;  // by reason
    const bool by_reason = section.result == Result::Pinned || section.result == Result::NotCalled;
    for (const auto& [name, row] : rows) {
      if (row.forward != section.result) continue;
      std::string& list = names[by_reason ? row.note : std::string()];
      list += (list.empty() ? "`" : ", `") + name.substr(name.find(':') + 2) + '`';
      if (row.backward == "equal bits") list += " (b)";
    }
    out << "\n## " << section.title << "\n\n" << section.text << '\n';
    for (const auto& [reason, list] : names) {
      out << '\n';
      if (!reason.empty()) out << "* " << reason << ": ";
      out << list << '\n';
    }
  }
}

TEST(OperatorSweep, every_operator_has_the_same_bits_when_its_storages_were_evicted) {
  install();
  torch::set_num_threads(1);
  Silent silent;
  const c10::WarningUtils::WarningHandlerGuard quiet(&silent);
  const std::map<std::string, Row> rows = sweep_all();
  int replayed = 0;
  int with_backward = 0;
  for (const auto& [name, row] : rows) {
    if (row.forward == Result::Differs) ADD_FAILURE() << name << ": " << row.note;
    if (row.forward != Result::Replayed) continue;
    ++replayed;
    with_backward += row.backward == "equal bits" ? 1 : 0;
  }
  // Of about 1,900 and 970. A sweep that calls hardly anything proves nothing.
  EXPECT_GT(replayed, 1500);
  EXPECT_GT(with_backward, 800);
  std::cout << replayed << " operators replayed, " << with_backward
            << " of them with a backward, of " << rows.size() << '\n';
  if (std::getenv("NEAP_WRITE_DOCS") == nullptr) return;
  std::ofstream out(NEAP_SOURCE_DIR "/docs/operators.md");
  write_report(out, rows);
}

}  // namespace
}  // namespace neap::test
