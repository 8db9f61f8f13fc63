// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The shim for LD_PRELOAD. NEAP_FAULTS_FOLDER: whose calls are counted; NEAP_FAULT: "CALL K ERRNO
// FOR_EVER" in numbers, which fails; NEAP_FAULTS_COUNTS: a file that gets the counts, one a line.
#include "faults/shim.h"

#include <cstdio>
#include <cstdlib>

namespace neap::faults {
namespace {

// Before main(), and after the constructors of the libraries below.
struct Preload {
  Preload() {
    const char* const folder = std::getenv("NEAP_FAULTS_FOLDER");
    if (folder == nullptr) return;
    Fault fault;
    const char* const text = std::getenv("NEAP_FAULT");
    int call = 0, for_ever = 0;
    long k = 0;
    if (text != nullptr &&
        std::sscanf(text, "%d %ld %d %d", &call, &k, &fault.error, &for_ever) == 4) {
      fault.call = static_cast<Call>(call);
      fault.k = k;
      fault.for_ever = for_ever != 0;
    }
    watch(folder, fault);
  }
  Preload(const Preload&) = delete;
  Preload& operator=(const Preload&) = delete;
  ~Preload() {
    stop();
    const char* const path = std::getenv("NEAP_FAULTS_COUNTS");
    std::FILE* const file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file == nullptr) return;
    for (std::size_t i = 0; i < kCalls; ++i) {
      std::fprintf(file, "%lld\n", static_cast<long long>(calls(static_cast<Call>(i))));
    }
    std::fclose(file);
  }
};

const Preload preload;

}  // namespace
}  // namespace neap::faults
