// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the builder of synthetic steps does with gradients and releases, on steps small enough to
// write down by hand.
#include "bench/traces/step_builder.h"

#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>
#include <string>

namespace neap::bench {
namespace {

using graph::Made;
using graph::Operator;
using graph::Release;
using graph::StorageId;
using graph::Trace;

// A step without its times and sizes, as lines of "name reads > makes", with "-id" for a release.
std::string written(const Trace& trace) {
  std::ostringstream text;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) {
      text << '\n' << op->name;
      for (const StorageId id : op->reads) text << ' ' << id;
      for (const StorageId id : op->mutates) text << " !" << id;
      text << " >";
      for (const Made& made : op->makes) text << ' ' << made.storage;
    } else if (const auto* const release = std::get_if<Release>(&event)) {
      text << " -" << release->storage;
    }
  }
  return text.str();
}

ForwardOperator unary(const char* name, Value x) {
  return {.name = name, .reads = {x}, .makes = {64}, .backward = {{.name = "back", .of = {x}}}};
}

TEST(StepBuilder, releases_what_is_saved_where_the_node_that_reads_it_ends_and_the_rest_at_once) {
  StepBuilder step(1);
  const Value weight = step.parameter(64);          // 0
  const Value a = step.run(unary("a", weight))[0];  // 1
  const Value b = step.run({.name = "b",            // 2
                            .reads = {a, weight},
                            .makes = {64},
                            .backward = {{.name = "back.0", .of = {a}, .saved = {a}},
                                         {.name = "back.1", .of = {weight}}}})[0];
  const Value c = step.run(unary("c", b))[0];  // 3
  EXPECT_EQ(step.operators(), 3 + 1 + 4 + 1 + 1);
  EXPECT_EQ(written(std::move(step).finish(c, {.name = "sgd", .gradients_stay = false}, "")),
            "\na 0 > 1"
            "\nb 1 0 > 2"
            "\nc 2 > 3 -2"
            "\naten::ones_like 3 > 4"
            "\nback 4 > 5 -4"
            "\nback.0 5 1 > 6"
            "\nback.1 5 > 7 -1 -5"
            "\nback 6 > 8 -6"
            "\naten::add_ 7 8 !7 > -8"
            "\nsgd 0 7 9 !0 !9 > -3 -7");
}

TEST(StepBuilder, sums_gradients_in_place_unless_another_tensor_has_the_same) {
  StepBuilder step(1);
  const Value weight = step.parameter(64);          // 0
  const Value a = step.run(unary("a", weight))[0];  // 1
  const Value b = step.run(unary("b", a))[0];       // 2
  const Value c = step.run(unary("c", a))[0];       // 3
  const auto sum_of = [](Value x, Value y) {        // both share its gradient
    return ForwardOperator{
        .name = "sum", .reads = {x, y}, .makes = {64}, .backward = {{.of = {x, y}}}};
  };
  const Value d = step.run(sum_of(b, c))[0];  // 4
  const Value e = step.run(sum_of(d, b))[0];  // 5
  EXPECT_EQ(step.operators(), 5 + 1 + 3 + 2 + 1);
  EXPECT_EQ(written(std::move(step).finish(e, {.name = "sgd", .states = 0}, "")),
            "\na 0 > 1"
            "\nb 1 > 2"
            "\nc 1 > 3 -1"
            "\nsum 2 3 > 4 -3"
            "\nsum 4 2 > 5 -2 -4"
            "\naten::ones_like 5 > 6"  // of d and of b, then of c too
            "\naten::add 6 > 7"        // of b: twice the same, but c has it
            "\nback 6 > 8 -6"          // of c
            "\nback 7 > 9 -7"          // of b
            "\naten::add_ 8 9 !8 > -9"
            "\nback 8 > 10 -8"
            "\nsgd 0 10 !0 > -5");
}

TEST(StepBuilder, sums_gradients_in_place_once_the_other_tensor_that_had_the_same_is_done_with_it) {
  StepBuilder step(1);
  const Value weight = step.parameter(64);          // 0
  const Value a = step.run(unary("a", weight))[0];  // 1
  const Value b = step.run(unary("b", a))[0];       // 2
  const Value c = step.run(unary("c", a))[0];       // 3
  const Value sum = step.run(                       // 4
      {.name = "sum", .reads = {a, b}, .makes = {64}, .backward = {{.of = {a, b}}}})[0];
  ForwardOperator all = unary("all", sum);
  all.reads = all.backward[0].of = {sum, b, c};
  const Value loss = step.run(all)[0];  // 5
  EXPECT_EQ(written(std::move(step).finish(loss, {.name = "sgd", .states = 0}, "")),
            "\na 0 > 1"
            "\nb 1 > 2"
            "\nc 1 > 3"
            "\nsum 1 2 > 4 -1"
            "\nall 4 2 3 > 5 -2 -3 -4"
            "\naten::ones_like 5 > 6"
            "\nback 6 > 7 8 9 -6"    // of the sum, of b, of c; the first becomes that of a and b
            "\naten::add_ 8 7 !8 >"  // of b, which is done with it
            "\nback 9 > 10 -9"       // of c
            "\naten::add_ 7 10 !7 > -10"
            "\nback 8 > 11 -8"  // of b
            "\naten::add_ 7 11 !7 > -11"
            "\nback 7 > 12 -7"
            "\nsgd 0 12 !0 > -5");
}

TEST(StepBuilder, sums_gradients_into_a_new_one_when_the_older_is_a_part_of_a_larger_one) {
  StepBuilder step(1);
  const Value weight = step.parameter(64);          // 0
  const Value a = step.run(unary("a", weight))[0];  // 1
  const Value b = step.run(unary("b", a))[0];       // 2
  ForwardOperator padding = unary("pad", a);
  padding.makes = {128};
  padding.backward = {{.of = {a}}};
  const Value padded = step.run(padding)[0];  // 3
  ForwardOperator both = unary("both", b);
  both.reads = both.backward[0].of = {b, padded};
  const Value loss = step.run(both)[0];  // 4
  EXPECT_EQ(written(std::move(step).finish(loss, {.name = "sgd", .states = 0}, "")),
            "\na 0 > 1"
            "\nb 1 > 2"
            "\npad 1 > 3 -1"
            "\nboth 2 3 > 4 -2 -3"
            "\naten::ones_like 4 > 5"
            "\nback 5 > 6 7 -5"
            "\nback 6 > 8 -6"
            "\naten::add 7 8 > 9 -7 -8"
            "\nback 9 > 10 -9"
            "\nsgd 0 10 !0 > -4");
}

TEST(StepBuilder, joins_the_gradients_of_views_and_gives_the_parts_of_a_whole_views_of_its_own) {
  StepBuilder step(1);
  const Value weight = step.parameter(128);  // 0
  ForwardOperator first = unary("a", weight);
  first.makes = {128};
  const Value a = step.run(first)[0];  // 1
  const std::vector<Value> halves = step.views(a, 2);
  const Value left = step.run(unary("left", halves[0]))[0];    // 2
  const Value right = step.run(unary("right", halves[1]))[0];  // 3
  const std::vector<Value> both = {left, right};
  const Value whole = step.run(
      {.name = "whole", .reads = both, .makes = {128}, .backward = {{.of = both}}})[0];  // 4
  EXPECT_EQ(written(std::move(step).finish(whole, {.name = "sgd", .states = 0}, "")),
            "\na 0 > 1"
            "\nleft 1 > 2"
            "\nright 1 > 3 -1"
            "\nwhole 2 3 > 4 -2 -3"
            "\naten::ones_like 4 > 5"
            "\nback 5 > 6"
            "\nback 5 > 7 -5"
            "\naten::cat 7 6 > 8 -6 -7"
            "\nback 8 > 9 -8"
            "\nsgd 0 9 !0 > -4");
}

TEST(StepBuilder, refuses_to_write_into_what_a_backward_reads_and_to_read_what_is_gone) {
  StepBuilder step(1);
  const Value weight = step.parameter(64);
  const Value a = step.run(unary("a", weight))[0];
  ForwardOperator in_place = unary("relu_", a);
  in_place.overwrites = a;
  in_place.makes = {};
  in_place.backward[0].saved_outputs = {0};
  EXPECT_TRUE(step.can_overwrite(a));
  EXPECT_FALSE(step.can_overwrite(weight));
  const Value b = step.run(in_place)[0];
  EXPECT_THROW(step.run(unary("late", a)), std::logic_error);
  EXPECT_FALSE(step.can_overwrite(b));
  in_place.reads = {b};
  in_place.overwrites = b;
  EXPECT_THROW(step.run(in_place), std::logic_error);
}

}  // namespace
}  // namespace neap::bench
