// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "operators/sweep.h"

#include "intercept/operators.h"
#include "intercept/storage_access.h"
#include "operators/arguments.h"
#include "support/bytes.h"

#include <neap/neap.h>
#include <torch/torch.h>

#include <set>
#include <sstream>

namespace neap::test {
namespace {

using Values = std::vector<c10::IValue>;
using Tensors = std::vector<at::Tensor>;

constexpr std::size_t kSmallest = 512;  // storages below are never evicted

template <class Visit>
void for_each_tensor(const Values& values, Visit visit) {
  for (const c10::IValue& value : values) {
    if (value.isTensor()) {
      if (value.toTensor().defined()) visit(value.toTensor());
    } else if (value.isList()) {
      for (const c10::IValue& element : value.toListRef()) {
        if (element.isTensor() && element.toTensor().defined()) visit(element.toTensor());
      }
    }
  }
}

template <class Change>
Values with_tensors(const Values& values, Change change) {
  Values result;
  for (const c10::IValue& value : values) {
    if (value.isTensor()) {
      result.emplace_back(value.toTensor().defined() ? change(value.toTensor()) : at::Tensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& element : value.toTensorVector()) {
        list.push_back(element.defined() ? change(element) : at::Tensor());
      }
      result.emplace_back(list);
    } else if (value.isList()) {
      const auto list = value.toList();
      c10::impl::GenericList copy(list.elementType());
      for (const c10::IValue& element : value.toListRef()) {
        copy.push_back(element.isTensor() ? c10::IValue(change(element.toTensor())) : element);
      }
      result.emplace_back(copy);
    } else {
      result.push_back(value);
    }
  }
  return result;
}

bool is_dense(const at::Tensor& tensor) {
  return tensor.layout() == at::kStrided && !tensor.is_quantized() && !tensor.is_meta() &&
         !tensor.is_nested() && !tensor._is_zerotensor();
}

// What the tensors say, whatever their layout.
test::ByteLists content(const Tensors& tensors) {
  Tensors dense;
  for (const at::Tensor& tensor : tensors) {
    dense.push_back(is_dense(tensor)          ? tensor
                    : tensor.is_meta()        ? at::empty({0})
                    : tensor.is_quantized()   ? tensor.int_repr()
                    : tensor._is_zerotensor() ? tensor.clone()
                                              : tensor.to_dense());
  }
  return test::bytes_of(dense);
}

std::string text_of(const Values& values) {
  std::ostringstream text;
  for (const c10::IValue& value : values) {
    if (!value.isTensor() && !value.isTensorList()) text << value << ' ';
  }
  return text.str();
}

// The default generator, byte by byte.
test::ByteLists generator_state() {
  return test::bytes_of({at::detail::getDefaultCPUGenerator().get_state()});
}

bool is_evicted(const at::Tensor& tensor) {
  if (!is_dense(tensor) || !tensor.has_storage()) return false;
  c10::StorageImpl& storage = *tensor.storage().unsafeGetStorageImpl();
  return storage.nbytes() > 0 && intercept::data_ptr_of(storage).get() == nullptr;
}

// One operator with its arguments.
struct Case {
  const c10::OperatorHandle& op;
  Values leaves;  // the arguments, as leaves
};

struct CallResult {
  Values arguments;
  Values returned;

  // What the operator returned, and what it wrote.
  [[nodiscard]] Tensors outputs(const c10::FunctionSchema& schema) const {
    Tensors tensors;
    for_each_tensor(returned, [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const c10::AliasInfo* const alias = schema.arguments()[i].alias_info();
      if (alias == nullptr || !alias->isWrite()) continue;
      for_each_tensor({arguments[i]}, [&](const at::Tensor& tensor) {
        const bool known = std::ranges::any_of(
            tensors, [&](const at::Tensor& other) { return other.is_same(tensor); });
        if (!known) tensors.push_back(tensor);
      });
    }
    return tensors;
  }
  [[nodiscard]] Tensors argument_tensors() const {
    Tensors tensors;
    for_each_tensor(arguments, [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
    return tensors;
  }
};

// The operator on copies of the leaves, which an operator made: they can be evicted.
CallResult call(const Case& c) {
  CallResult result;
  result.arguments = with_tensors(c.leaves, [](const at::Tensor& leaf) { return leaf.clone(); });
  torch::jit::Stack stack(result.arguments.begin(), result.arguments.end());
  torch::manual_seed(1);
  c.op.callBoxed(&stack);
  result.returned = {stack.begin(), stack.end()};
  return result;
}

// A scalar that depends on each bit of the floating outputs, and whose backward reads them;
// undefined without any.
at::Tensor loss_of(const Tensors& outputs) {
  at::Tensor loss;
  for (const at::Tensor& output : outputs) {
    if (!output.requires_grad() || output.numel() == 0 || !is_dense(output)) continue;
    const at::Tensor real = output.is_complex() ? at::view_as_real(output.resolve_conj()) : output;
    const at::Tensor part = (real * real.detach().cos()).sum();
    loss = loss.defined() ? loss + part : part;
  }
  return loss;
}

Tensors leaves_of(const Case& c) {
  Tensors leaves;
  for_each_tensor(c.leaves, [&](const at::Tensor& leaf) {
    if (leaf.requires_grad()) leaves.push_back(leaf);
  });
  return leaves;
}

Tensors take_gradients(const Case& c) {
  Tensors gradients;
  for (at::Tensor& leaf : leaves_of(c)) {
    gradients.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::empty({0}));
    leaf.mutable_grad().reset();
  }
  return gradients;
}

// Memory that is not written shows: it has another value each time.
void fill_free_memory(int byte) {
  Tensors blocks;
  for (std::int64_t size = 64; size <= 65536; size *= 2) {
    for (int i = 0; i < 6; ++i) blocks.push_back(at::empty({size}, at::kByte).fill_(byte));
  }
}

// Made from the output, and large enough to be evicted.
at::Tensor repeated(const at::Tensor& output) {
  const at::NoGradGuard no_grad;
  const at::Tensor piece = output.dim() == 0 ? output.view({1}) : output;
  return at::cat(Tensors(1 + kSmallest / piece.nbytes(), piece));
}

// What plain LibTorch does.
struct Plain {
  test::ByteLists before, after, outputs, gradients, generator;
  std::string text;
  bool differentiable = false;
  std::string why_not;  // no backward
};

Plain run_plain(const Case& c, int byte) {
  fill_free_memory(byte);
  Plain plain;
  plain.before = content([&] {
    Tensors tensors;
    for_each_tensor(c.leaves, [&](const at::Tensor& leaf) { tensors.push_back(leaf); });
    return tensors;
  }());
  const CallResult result = call(c);
  plain.generator = generator_state();
  const Tensors outputs = result.outputs(c.op.schema());
  plain.outputs = content(outputs);
  plain.after = content(result.argument_tensors());
  plain.text = text_of(result.returned);
  try {
    const at::Tensor loss = loss_of(outputs);
    if (loss.defined()) {
      loss.backward();
      plain.differentiable = true;
    }
  } catch (const c10::Error& error) {
    plain.why_not = error.what_without_backtrace();
  }
  plain.gradients = content(take_gradients(c));
  return plain;
}

std::optional<std::string> first_difference(const Plain& a, const Plain& b) {
  if (const auto where = test::first_difference(a.outputs, b.outputs)) return "output " + *where;
  if (const auto where = test::first_difference(a.after, b.after)) return "argument " + *where;
  if (const auto where = test::first_difference(a.gradients, b.gradients)) {
    return "gradient " + *where;
  }
  if (a.text != b.text) return "returned " + a.text + "and " + b.text;
  return std::nullopt;
}

// The first operator that `c` calls whose result stays, and why.
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

// One operator under neap, compared with what plain LibTorch did.
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

  // The program holds arguments and results while they are evicted, then reads them.
  void hold_results() {
    fill_free_memory(0x33);
    CallResult result;
    {
      Scope scope;
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

  // Other memory is of another size here: that of what was computed on the way.
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

  // Only what was made from the results is left, so the operator runs again, however small its
  // results are.
  void outlive_results() {
    fill_free_memory(0x44);
    Tensors made;
    std::int64_t followers = 0;
    Scope scope;
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

  // Plainly made the same way.
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
    Scope scope;
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

enum class Gradients { All, First, None };

// The first arguments that the operator takes, with gradients when it takes them so.
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
