// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/layer_names.h"

#include <limits>

namespace neap::engine {

LayerNames::~LayerNames() {
  for (const auto& [storage, layer] : parameters_) c10::raw::weak_intrusive_ptr::decref(storage);
}

void LayerNames::drop_dead() {
  for (auto it = parameters_.begin(); it != parameters_.end();) {
    if (c10::raw::weak_intrusive_ptr::use_count(it->first) > 0) {
      ++it;
      continue;
    }
    c10::raw::weak_intrusive_ptr::decref(it->first);
    it = parameters_.erase(it);
  }
}

void LayerNames::add(c10::StorageImpl& storage, std::string_view name) {
  const std::size_t dot = name.rfind('.');
  std::string layer(dot == std::string_view::npos ? std::string_view{} : name.substr(0, dot));
  std::uint16_t number = 0;
  if (const auto known = numbers_.find(layer); known != numbers_.end()) {
    number = known->second;
  } else if (names_.size() < std::numeric_limits<std::uint16_t>::max()) {
    number = static_cast<std::uint16_t>(names_.size());
    names_.push_back(layer);
    numbers_.emplace(std::move(layer), number);
  }
  const auto [entry, added] = parameters_.try_emplace(&storage, number);
  entry->second = number;
  if (!added) return;
  c10::raw::weak_intrusive_ptr::incref(&storage);
  // Models come and go. So dead parameters are removed each time that the table has doubled.
  if ((parameters_.size() & (parameters_.size() - 1)) == 0) drop_dead();
}

}  // namespace neap::engine
