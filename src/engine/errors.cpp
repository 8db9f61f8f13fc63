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

HandWritten::HandWritten(const std::string& storage)
    : Error(storage +
            ", was written by hand after an operator had read it. What that operator made has been "
            "evicted, and cannot be made again from the new bytes. Write before the operators that "
            "read it, or call neap::expose(tensor) before them: then what they make stays in "
            "memory") {}
HandWritten::~HandWritten() = default;

OffloadError::OffloadError(const std::string& storage, const std::string& why)
    : Error(storage + ", was moved out of memory and cannot be brought back: " + why +
            ". Nothing can make it again, so this step is lost: go on from the last snapshot, with "
            "another directory for Options::offload (--offload DIR) or without one") {}
OffloadError::~OffloadError() = default;

}  // namespace neap
