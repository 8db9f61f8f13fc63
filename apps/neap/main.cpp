// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap: trains inside a memory budget, proves that the bits are equal, measures what training
// takes, traces and plans a step, and checks whether neap works on this machine.
#include "command_line.h"
#include "commands.h"

#include <neap/neap.h>

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <csignal>
#include <exception>
#include <optional>
#include <string>

namespace neap::app {

std::atomic<bool> stop_requested{false};

namespace {

// The first Ctrl-C stops the run before the next operator, or after the step where it is to be
// saved, with a summary. The second one ends the process.
void on_interrupt(int signal) {
  stop_requested.store(true);
  if (!FinishSteps::on()) neap::interrupt();
  std::signal(signal, SIG_DFL);
}

int run(const CommandLine& line) {
  Output output;
  std::optional<Sibling> sibling;
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  std::signal(SIGPIPE, SIG_IGN);  // then write() reports a closed pipe as an error
  std::signal(SIGXFSZ, SIG_IGN);  // and a file that grows too large
  if (line.command == Command::Verify) sibling.emplace();  // before LibTorch starts threads
  neap::install();
  // Always called: it keeps MKL from choosing a smaller number of threads by itself, because a sum
  // by fewer threads has other bits.
  at::set_num_threads(line.threads() > 0 ? static_cast<int>(line.threads())
                                         : at::get_num_threads());
  if (sibling && sibling->is_second()) {
    serve_plain_steps(line.training, *sibling);
    return 0;
  }
  try {
    switch (line.command) {
      case Command::Train:
        return train(line.training, output);
      case Command::Evaluate:
        return evaluate(line.training, output);
      case Command::Predict:
        return predict(line.predicting, output);
      case Command::Export:
        return export_weights(line.exporting, output);
      case Command::Import:
        return import_weights(line.training, output);
      case Command::Verify:
        return verify(line.training, output, *sibling);
      case Command::Analyze:
        return analyze(line.measuring, output);
      case Command::Bench:
        return bench(line.measuring, output);
      case Command::MaxBatch:
        return max_batch(line.measuring, output);
      case Command::Trace:
        return trace(line.tracing, output);
      case Command::Plan:
        return plan(line.planning, output);
      case Command::Advise:
        return advise(line.advising, output);
      case Command::Profile:
        return profile(line.viewing, output);
      case Command::Summary:
        return summary(line.viewing, output);
      case Command::Explain:
        return explain(line.viewing, output);
      case Command::Report:
        return report(line.reporting, output);
      case Command::Runs:
        return runs(line.listing, output);
      case Command::Doctor:
        return doctor(line.examining, output);
      case Command::None:
        break;
    }
    return line.exit_code;
  } catch (const UsageError& error) {
    say(std::string("neap: ") + error.what());
    return 2;
  } catch (const Interrupted&) {
    say("neap: interrupted");
    return kInterrupted;
  } catch (const c10::Error& error) {
    say(std::string("neap: ") + error.what_without_backtrace());
    return 1;
  } catch (const std::exception& error) {
    say(std::string("neap: ") + error.what());
    return 1;
  } catch (...) {
    say("neap: an exception of no known type; throw one of std::exception");
    return 1;
  }
}

}  // namespace
}  // namespace neap::app

int main(int argc, char** argv) {
  const neap::app::CommandLine line = neap::app::parse_command_line(argc, argv);
  if (line.command == neap::app::Command::None) return line.exit_code;
  return neap::app::run(line);
}
