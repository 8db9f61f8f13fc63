// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Runs one operator under neap, compares each byte with plain LibTorch, and says which class of
// docs/operators.md it belongs to.
#include "operators/sweep.h"

#include "intercept/operators.h"
#include "operators/arguments.h"
#include "operators/operator_calls.h"
#include "operators/plain_run.h"
#include "support/bytes.h"

#include <neap/neap.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace neap::test {
namespace {

using namespace operators;

// The first operator inside of `c` whose result stays in memory, and why.
std::string pinned_part(const Case& c) {
  static thread_local std::vector<c10::OperatorName> called;
  called.clear();
  const auto note = [](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
    if (const auto name = function.operator_name()) called.push_back(*name);
    return nullptr;
  };
  const at::CallbackHandle handle = at::addThreadLocalCallback(at::RecordFunctionCallback(note));
  call(c);
  at::removeCallback(handle);
  std::string part;
  for (const c10::OperatorName& name : called) {
    const auto op = c10::Dispatcher::singleton().findOp(name);
    if (!op) continue;
    const intercept::OperatorTraits& traits = intercept::traits_of(*op);
    if (traits.factory) return name.name + ", which is made from no tensor";
    if (!traits.replayable) return name.name + ", which " + traits.reason;
    if (traits.empty) part = name.name + ", and writes not all of it at once";
  }
  return part;
}

// Runs one operator under neap, and compares it with the plain run.
class Sweep {
 public:
  Sweep(Case c, Plain plain) : case_(std::move(c)), plain_(std::move(plain)) {}

  Row run() {
    guarded("results and arguments that are held", [&] { hold_results(); });
    guarded("results that died", [&] { outlive_results(); });
    if (plain_.differentiable) {
      row_.backward = "equal bits";
      guarded("backward", [&] { run_backward(); });
    } else if (!plain_.why_not.empty()) {
      row_.backward = "not differentiable";
    }
    find_undeclared_writes();
    classify();
    return row_;
  }

 private:
  template <class Step>
  void guarded(const char* what, Step step) {
    try {
      step();
    } catch (const std::exception& error) {
      const std::string text = error.what();
      differs(std::string(what) + ": " + text.substr(0, text.find('\n')));
    }
  }
  void differs(const std::string& what) {
    row_.forward = Result::Differs;
    row_.note += (row_.note.empty() ? "" : "; ") + what;
  }
  void compare(const char* what, const test::ByteLists& expected, const test::ByteLists& found) {
    if (const auto where = test::first_difference(expected, found)) {
      differs(std::string(what) + " " + *where);
    }
  }
  [[nodiscard]] const c10::FunctionSchema& schema() const { return case_.op.schema(); }

  // The program holds the arguments and results while they are evicted. Then it reads them.
  void hold_results() {
    fill_free_memory(0x33);
    CallResult result;
    {
      Scope scope({.verify = true});
      checkpoint([&] { result = call(case_); });
      const Tensors outputs = result.outputs(schema());
      for (const at::Tensor& output : outputs) {
        if (is_evicted(output)) {
          ++evicted_;
        } else if (output.has_storage() && output.storage().nbytes() >= kSmallest) {
          ++stayed_;
        }
        any_dense_ = any_dense_ || is_dense(output);
      }
      note_aliases(result);
      note_moves(result);
      compare("held output", plain_.outputs, content(outputs));
      compare("argument", plain_.after, content(result.argument_tensors()));
      if (plain_.text != text_of(result.returned)) differs("returned " + text_of(result.returned));
      scope.end();
      replays_ += scope.stats().replays;
    }
    compare("generator", plain_.generator, generator_state());
    compare("output after the scope", plain_.outputs, content(result.outputs(schema())));
  }

  // Notes whether the operator gave an argument other memory. It shows in the size, which is that
  // of an intermediate result.
  void note_moves(const CallResult& result) {
    for (std::size_t i = 0; i < case_.leaves.size(); ++i) {
      if (!case_.leaves[i].isTensor() || !case_.leaves[i].toTensor().defined()) continue;
      const at::Tensor& before = case_.leaves[i].toTensor();
      const at::Tensor& after = result.arguments[i].toTensor();
      if (!before.has_storage() || !after.has_storage()) continue;
      moved_ = moved_ || before.nbytes() != after.storage().nbytes();
    }
  }

  void note_aliases(const CallResult& result) {
    std::set<const void*> given;
    for (const at::Tensor& tensor : result.argument_tensors()) {
      if (tensor.has_storage()) given.insert(tensor.storage().unsafeGetStorageImpl());
    }
    for_each_tensor(result.returned, [&](const at::Tensor& tensor) {
      if (tensor.has_storage() && given.contains(tensor.storage().unsafeGetStorageImpl())) {
        ++aliases_;
      } else {
        ++fresh_;
      }
    });
  }

  // The program keeps only tensors that were made from the results. To restore them, the operator
  // runs again, even when its results are too small to be evicted.
  void outlive_results() {
    fill_free_memory(0x44);
    Tensors made;
    std::int64_t followers = 0;
    Scope scope({.verify = true});
    checkpoint([&] {
      const CallResult result = call(case_);
      for (const at::Tensor& output : result.outputs(schema())) {
        if (!is_dense(output) || output.numel() == 0) continue;
        made.push_back(repeated(output));
        ++followers;
      }
    });
    const std::int64_t before = scope.stats().replays;
    const test::ByteLists found = content(made);
    ran_again_ = scope.stats().replays - before > followers;
    compare("what was made from dead outputs", repeated_outputs(), found);
    replays_ += scope.stats().replays;
    scope.end();
  }

  // The same tensors, made without neap.
  test::ByteLists repeated_outputs() {
    const CallResult result = call(case_);
    Tensors made;
    for (const at::Tensor& output : result.outputs(schema())) {
      if (!is_dense(output) || output.numel() == 0) continue;
      made.push_back(repeated(output));
    }
    return content(made);
  }

  void run_backward() {
    fill_free_memory(0x55);
    Scope scope({.verify = true});
    const at::Tensor loss = checkpoint([&] { return loss_of(call(case_).outputs(schema())); });
    loss.backward();
    scope.end();
    replays_ += scope.stats().replays;
    const test::ByteLists gradients = content(take_gradients(case_));
    if (const auto where = test::first_difference(plain_.gradients, gradients)) {
      row_.backward = "differs";
      differs("gradient " + *where);
    }
  }

  void find_undeclared_writes() {
    std::size_t tensor = 0;
    const auto& traits = intercept::traits_of(case_.op);
    for (std::size_t i = 0; i < case_.leaves.size(); ++i) {
      const c10::AliasInfo* const alias = schema().arguments()[i].alias_info();
      const std::uint64_t bit = std::uint64_t{1} << i;
      for_each_tensor({case_.leaves[i]}, [&](const at::Tensor&) {
        const bool written = plain_.before[tensor] != plain_.after[tensor];
        ++tensor;
        if (!written || (alias != nullptr && alias->isWrite())) return;
        const std::string& name = schema().arguments()[i].name();
        if ((traits.once & bit) == 0 && traits.replayable && !traits.decompose) {
          differs("writes " + name + ", which neither its schema nor neap says");
        } else {
          add_note("writes " + name + ", which its schema does not say");
        }
      });
    }
  }

  void add_note(const std::string& text) {
    if (row_.forward != Result::Differs) row_.note += (row_.note.empty() ? "" : "; ") + text;
  }

  [[nodiscard]] std::size_t written_tensors() const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < case_.leaves.size(); ++i) {
      const c10::AliasInfo* const alias = schema().arguments()[i].alias_info();
      if (alias == nullptr || !alias->isWrite()) continue;
      for_each_tensor({case_.leaves[i]}, [&](const at::Tensor&) { ++count; });
    }
    return count;
  }

  void classify() {
    if (row_.forward == Result::Differs) return;
    const intercept::OperatorTraits& traits = intercept::traits_of(case_.op);
    const std::size_t written = written_tensors();
    const auto pinned = [&](const std::string& reason) {
      row_.forward = Result::Pinned;
      add_note(reason);
    };
    if (plain_.outputs.empty()) {
      row_.forward = Result::NoTensor;
    } else if (written == 0 && fresh_ == 0) {
      row_.forward = Result::View;
    } else if (evicted_ > 0 || ran_again_) {
      row_.forward = Result::Replayed;
      if (traits.random) add_note("under the generator's state of then");
    } else if (!traits.replayable) {
      if (*traits.reason == '\0') return differs("not replayable, and no reason is stated");
      pinned(traits.reason);
    } else if (traits.empty) {
      pinned("returns memory that it did not write");
    } else if (traits.factory) {
      pinned("made from no tensor");
    } else if (!any_dense_) {
      pinned("returns no dense tensor");
    } else if (std::ranges::all_of(plain_.outputs,
                                   [](const auto& bytes) { return bytes.empty(); })) {
      pinned("returns empty tensors");
    } else if (written > 1) {
      pinned("writes several tensors");
    } else if (written > 0 && fresh_ > 0) {
      pinned("writes a tensor and returns another");
    } else if (moved_) {
      pinned("gives the tensor that it writes other memory");
    } else if (const std::string inner = pinned_part(case_); !inner.empty()) {
      pinned("calls " + inner);
    } else {
      differs("is neither replayed nor stated to be pinned");
    }
  }

  Case case_;
  Plain plain_;
  Row row_;
  int evicted_ = 0;
  int stayed_ = 0;
  int aliases_ = 0;
  int fresh_ = 0;
  bool any_dense_ = false;
  bool moved_ = false;
  bool ran_again_ = false;
  std::int64_t replays_ = 0;
};

std::string first_line(std::string text) {
  text = text.substr(0, text.find('\n'));
  constexpr std::size_t kLongest = 100;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

bool runs_on_cpu(const c10::OperatorHandle& op) {
  using Key = c10::DispatchKey;
  for (const Key key : {Key::CPU, Key::CompositeImplicitAutograd, Key::CompositeExplicitAutograd,
                        Key::CompositeExplicitAutogradNonFunctional}) {
    if (op.hasKernelForDispatchKey(key)) return true;
  }
  return false;
}

// Which floating arguments ask for a gradient.
enum class Gradients { All, First, None };

}  // namespace

Row sweep(const c10::OperatorHandle& op, const std::function<void()>& reached) {
  Row row;
  if (!runs_on_cpu(op)) {
    row.note = "no kernel for dense CPU tensors";
    return row;
  }
  for (std::size_t attempt = 0;; ++attempt) {
    for (const Gradients gradients : {Gradients::All, Gradients::First, Gradients::None}) {
      try {
        torch::manual_seed(7);
        const auto values = test::arguments_for(op, attempt);
        if (!values) return row;
        std::size_t index = 0;
        bool first = true;
        Values leaves;
        for (const c10::IValue& value : *values) {
          const bool out = op.schema().arguments()[index++].is_out();
          leaves.push_back(with_tensors({value}, [&](const at::Tensor& tensor) {
            const bool floats = tensor.is_floating_point() || tensor.is_complex();
            const bool wanted =
                gradients == Gradients::All || (gradients == Gradients::First && first);
            first = first && !floats;
            return tensor.detach().requires_grad_(wanted && floats && !out);
          })[0]);
        }
        const Case c{op, leaves};
        const Plain plain = run_plain(c, 0x11);
        const Plain again = run_plain(c, 0x22);
        if (const auto where = first_difference(plain, again)) {
          row.forward = Result::PlainDiffers;
          row.note =
              intercept::traits_of(op).empty ? "returns memory that it did not write" : *where;
          return row;
        }
        reached();
        return Sweep(c, plain).run();
      } catch (const std::exception& error) {
        if (row.note.empty()) row.note = first_line(error.what());
      }
    }
  }
}

}  // namespace neap::test
