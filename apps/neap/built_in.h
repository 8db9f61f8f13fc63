// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The command's own models.
#pragma once

#include <neap/plugin.h>

#include <string>

namespace neap::app {

// `name`: mlp, resnet, transformer or gpt.
plugin::Definition built_in_model(const std::string& name);

}  // namespace neap::app
