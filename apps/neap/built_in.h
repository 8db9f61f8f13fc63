// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The command's own models.
#pragma once

#include "command_line.h"

#include <neap/plugin.h>

namespace neap::app {

// `options.model`: mlp, resnet, transformer or gpt. Throws: UsageError for a size that it does not
// have.
plugin::Definition built_in_model(const RunOptions& options);

// Of such a model, where they are left out; nullopt: it has no such size, or is of a library.
ModelSizes default_sizes(const std::string& model);

}  // namespace neap::app
