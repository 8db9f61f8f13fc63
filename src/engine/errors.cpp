// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/engine.h>

namespace neap {

ScopeConflict::ScopeConflict(const std::string& text) : Error(text) {}
ScopeConflict::~ScopeConflict() = default;

Interrupted::Interrupted()
    : Error(
          "interrupted before the next operator, because neap::interrupt() was called; the step "
          "under way is not complete") {}
Interrupted::~Interrupted() = default;

ReplayError::ReplayError(const std::string& text) : Error(text) {}
ReplayError::~ReplayError() = default;

}  // namespace neap
