// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The destructors are defined here, so that each type has one vtable and is caught across shared
// libraries.
#include <neap/base.h>

namespace neap {

Error::Error(const std::string& text) : std::runtime_error(text) {}
Error::~Error() = default;

InvalidArgument::InvalidArgument(const std::string& text) : Error(text) {}
InvalidArgument::~InvalidArgument() = default;

}  // namespace neap
