// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/memory.h>

#include <cstdio>
#include <memory>

namespace neap::memory {

ProcessMemory process_memory() {
  ProcessMemory process;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/status", "re"),
                                                   &std::fclose);
  if (!file) return process;
  char line[256];
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    long long kib = 0;
    if (std::sscanf(line, "VmRSS: %lld kB", &kib) == 1) process.resident = kib << 10;
    if (std::sscanf(line, "VmHWM: %lld kB", &kib) == 1) process.peak_resident = kib << 10;
  }
  return process;
}

}  // namespace neap::memory
