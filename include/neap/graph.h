// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/graph.h: a training step as plain data. Knows nothing of LibTorch.
//
//   neap::graph::Trace trace = neap::trace([&] { train_one_step(); });  // neap/checkpoint.h
//   const neap::graph::PlainRun run = neap::graph::run_plainly(trace);
//   std::cout << run.peak << " bytes at operator " << run.peak_operator << '\n';
//
// Units: bytes, nanoseconds. Threads: everything here is a value; no shared state.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace neap::graph {

// A storage's number in its trace.
using StorageId = std::int64_t;

enum class StorageKind : std::uint8_t { Constant, Parameter, Buffer, Input, Gradient, Optimizer };
enum class Phase : std::uint8_t { Forward, Backward, Optimizer, Other };

// A storage that no operator of the trace makes. It was there before the first one.
struct Given {
  StorageId storage = 0;
  std::int64_t bytes = 0;
  StorageKind kind = StorageKind::Constant;
};

struct Made {
  StorageId storage = 0;
  std::int64_t bytes = 0;
};

struct Operator {
  std::string name = {};   // aten::addmm
  std::string layer = {};  // encoder.0.linear1; empty: not known
  Phase phase = Phase::Other;
  std::vector<StorageId> reads = {};
  std::vector<StorageId> mutates = {};  // written in place
  std::vector<Made> makes = {};
  std::int64_t ns = 0;
  std::int64_t workspace = 0;  // bytes that live only while it runs, what it makes not counted
  bool random = false;
  bool replayable = true;
};

// After the operator before it, the program holds the storage no longer.
struct Release {
  StorageId storage = 0;
};

using Event = std::variant<Given, Operator, Release>;

// Given storages stand where they were first read, and existed from the start.
struct Trace {
  std::vector<Event> events;
};

// The step without neap: each storage lives from its operator to its release.
struct PlainRun {
  std::int64_t given = 0;  // bytes of all given storages
  std::int64_t peak =
      0;  // largest sum of what lives, and of what an operator makes and needs while it runs
  std::int64_t peak_operator =
      -1;  // the operator at which it was reached, counted from 0; -1: before the first
  std::int64_t workspace = 0;            // of that operator
  std::vector<StorageId> at_peak;        // what lives while it runs, results included
  std::vector<StorageId> after_forward;  // what lives when the first operator of a backward begins
  std::vector<StorageId> at_end;
};

// Throws: InvalidArgument when a storage is defined twice, or used or released before it is defined or after its release.
NEAP_EXPORT PlainRun run_plainly(const Trace& trace);

}  // namespace neap::graph
