// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "snapshot/optimizer_fields.h"
#include "snapshot/tensors.h"

#include <neap/train.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace neap::train {
namespace {

State::Part part_of(std::string name, const at::Tensor& tensor) {
  State::Part part{std::move(name), 1, {}};
  if (!tensor.defined()) return part;
  snapshot::bring_back(tensor);
  const at::Tensor dense = tensor.detach().cpu().contiguous();
  part.item_bytes = static_cast<std::int64_t>(dense.itemsize());
  part.bytes.resize(dense.nbytes());
  if (!part.bytes.empty()) std::memcpy(part.bytes.data(), dense.const_data_ptr(), dense.nbytes());
  return part;
}

template <class Number>
State::Part part_of_number(std::string name, Number number) {
  State::Part part{std::move(name), sizeof number, std::vector<std::byte>(sizeof number)};
  std::memcpy(part.bytes.data(), &number, sizeof number);
  return part;
}

void add_optimizer_state(std::vector<State::Part>& parts, const std::string& of,
                         const torch::optim::OptimizerParamState& state) {
  const bool known = snapshot::with_kind_of(state, [&](const auto& kind) {
    using Kind = typename std::decay_t<decltype(kind)>::State;
    Kind copy = static_cast<const Kind&>(state);  // its tensors are the same
    snapshot::each_field(copy, [&](const char* field, const auto& value) {
      const std::string name = std::string(field) + " of " + of;
      if constexpr (std::is_same_v<std::decay_t<decltype(value)>, at::Tensor>) {
        parts.push_back(part_of(name, value));
      } else {
        parts.push_back(part_of_number(name, value));
      }
    });
  });
  if (!known) {
    throw InvalidArgument("the optimizer's state of " + of +
                          " is none of SGD, Adam, AdamW, RMSprop and Adagrad, so it cannot be "
                          "compared; use one of these");
  }
}

// Most significant digit first. Assumes a little-endian machine.
std::string hexadecimal(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "0x";
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    text += kDigits[std::to_integer<std::size_t>(*byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(*byte & std::byte{15})];
  }
  return text;
}

}  // namespace

State State::of(const torch::nn::Module& model, const torch::optim::Optimizer& optimizer,
                double loss) {
  State state;
  state.parts_.push_back(part_of_number("loss", loss));
  for (const auto& item : model.named_parameters()) {
    state.parts_.push_back(part_of(item.key(), item.value()));
    state.parts_.push_back(part_of("gradient of " + item.key(), item.value().grad()));
    const auto found = optimizer.state().find(item.value().unsafeGetTensorImpl());
    if (found != optimizer.state().end()) {
      add_optimizer_state(state.parts_, item.key(), *found->second);
    }
  }
  for (const auto& item : model.named_buffers()) {
    state.parts_.push_back(part_of("buffer " + item.key(), item.value()));
  }
  state.parts_.push_back(
      part_of("generator", at::globalContext().defaultGenerator(at::kCPU).get_state()));
  return state;
}

std::int64_t State::bytes() const {
  std::int64_t sum = 0;
  for (const Part& part : parts_) sum += static_cast<std::int64_t>(part.bytes.size());
  return sum;
}

std::string State::packed() const {
  std::string out;
  const auto put = [&](std::string_view bytes) {
    const std::uint64_t size = bytes.size();
    out.append(reinterpret_cast<const char*>(&size), sizeof size);
    out.append(bytes);
  };
  for (const Part& part : parts_) {
    put(part.name);
    put({reinterpret_cast<const char*>(&part.item_bytes), sizeof part.item_bytes});
    put({reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size()});
  }
  return out;
}

State State::unpacked(std::string_view bytes) {
  const auto take = [&bytes] {
    std::uint64_t size = 0;
    const bool has_size = bytes.size() >= sizeof size;
    if (has_size) std::memcpy(&size, bytes.data(), sizeof size);
    if (!has_size || size > bytes.size() - sizeof size) {
      throw InvalidArgument("the bytes are no packed state: they are cut short; pack it again");
    }
    const std::string_view taken = bytes.substr(sizeof size, size);
    bytes.remove_prefix(sizeof size + size);
    return taken;
  };
  State state;
  while (!bytes.empty()) {
    Part part{std::string(take()), 0, {}};
    const std::string_view item_bytes = take();
    if (item_bytes.size() != sizeof part.item_bytes) {
      throw InvalidArgument("the bytes are no packed state: a size is missing; pack it again");
    }
    std::memcpy(&part.item_bytes, item_bytes.data(), sizeof part.item_bytes);
    const std::string_view content = take();
    part.bytes.resize(content.size());
    if (!content.empty()) std::memcpy(part.bytes.data(), content.data(), content.size());
    state.parts_.push_back(std::move(part));
  }
  return state;
}

std::optional<State::Difference> State::first_difference(const State& other) const {
  const std::size_t count = std::max(parts_.size(), other.parts_.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (i >= parts_.size()) return Difference{other.parts_[i].name, -1, "absent", "present"};
    const Part& mine = parts_[i];
    if (i >= other.parts_.size() || other.parts_[i].name != mine.name) {
      return Difference{mine.name, -1, "present", "absent"};
    }
    const Part& its = other.parts_[i];
    if (mine.bytes.size() != its.bytes.size()) {
      return Difference{mine.name, -1, std::to_string(mine.bytes.size()) + " bytes",
                        std::to_string(its.bytes.size()) + " bytes"};
    }
    const auto [left, right] = std::ranges::mismatch(mine.bytes, its.bytes);
    if (left == mine.bytes.end()) continue;
    const std::int64_t index = (left - mine.bytes.begin()) / mine.item_bytes;
    const auto item = [&](const Part& part) {
      return hexadecimal(std::span(part.bytes)
                             .subspan(static_cast<std::size_t>(index * mine.item_bytes),
                                      static_cast<std::size_t>(mine.item_bytes)));
    };
    return Difference{mine.name, index, item(mine), item(its)};
  }
  return std::nullopt;
}

}  // namespace neap::train
