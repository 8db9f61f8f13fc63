// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/data.h>

namespace neap::data {

DataError::DataError(const std::string& text) : Error(text) {}
DataError::~DataError() = default;

SampleError::SampleError(std::int64_t sample, const std::string& why)
    : DataError("sample " + std::to_string(sample) + " cannot be loaded: " + why), sample(sample) {}
SampleError::~SampleError() = default;

}  // namespace neap::data
