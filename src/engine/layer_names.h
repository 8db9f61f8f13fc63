// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/layer_names.h: finds the layer that a parameter belongs to.
//
// Parameters are known by their storages. A weak reference to each keeps its address from being
// reused. Not thread-safe; only the engine's thread uses it.
#pragma once

#include <c10/core/StorageImpl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace neap::engine {

class LayerNames {
 public:
  LayerNames() = default;
  LayerNames(const LayerNames&) = delete;
  LayerNames& operator=(const LayerNames&) = delete;
  ~LayerNames();

  // `name`: the parameter's, such as `encoder.0.linear1.weight`. Its layer is the part before the
  // last dot.
  void add(c10::StorageImpl& storage, std::string_view name);
  // The number of the layer of the storage's parameter; 0: the storage has no name.
  [[nodiscard]] std::uint16_t layer_of(c10::StorageImpl& storage) const {
    const auto found = parameters_.find(&storage);
    return found == parameters_.end() ? std::uint16_t{0} : found->second;
  }
  [[nodiscard]] const std::string& name(std::uint16_t layer) const { return names_[layer]; }
  [[nodiscard]] bool empty() const { return parameters_.empty(); }
  // The layers of all parameters that were ever named. The first entry stands for no layer.
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

 private:
  void drop_dead();

  std::unordered_map<c10::StorageImpl*, std::uint16_t> parameters_;
  std::unordered_map<std::string, std::uint16_t> numbers_;
  std::vector<std::string> names_ = {""};
};

}  // namespace neap::engine
