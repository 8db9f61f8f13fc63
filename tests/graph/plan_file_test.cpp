// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A plan may come from another solver. Its file is read as strictly as a trace's. Whether a trace
// allows it is a question for simulate().
#include "graph/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <limits>

namespace neap::graph {
namespace {

using testing::HasSubstr;
using Action = Step::Action;

// The plan from the page on the formats.
const std::string kHead =
    R"({"neap_plan":1,"budget":1048576,"predicted_peak":1040384,"predicted_ns":812000})"
    "\n";
const std::string kExample = kHead + "{\"run\":0}\n{\"free\":7}\n{\"rerun\":0}\n";

Refusal refusal(const std::string& text) {
  return refusal_of([&] { plan_of(text); });
}

void expect_refused(const std::string& text, std::int64_t line, const std::string& part) {
  SCOPED_TRACE(text);
  const Refusal found = refusal(text);
  EXPECT_EQ(found.line, line) << found.text;
  EXPECT_THAT(found.text, HasSubstr("plan.jsonl: line " + std::to_string(line) + ": "));
  EXPECT_THAT(found.text, HasSubstr(part));
}

TEST(PlanFile, the_example_of_the_formats_page_is_read_as_it_is_meant) {
  const Plan plan = plan_of(kExample);
  EXPECT_EQ(plan.budget, 1048576);
  EXPECT_EQ(plan.predicted_peak, 1040384);
  EXPECT_EQ(plan.predicted_ns, 812000);
  EXPECT_EQ(plan.steps,
            (std::vector<Step>{{Action::Run, 0}, {Action::Free, 7}, {Action::Rerun, 0}}));
  EXPECT_EQ(text_of(plan), kExample);
  EXPECT_EQ(plan_of(text_of(Plan{})), Plan{});
}

TEST(PlanFile, what_is_foreseen_of_the_operators_comes_back) {
  const std::string text =
      R"({"neap_plan":1,"budget":1,"predicted_peak":1,"predicted_ns":1,"label":"mlp batch 8"})"
      "\n"
      R"({"run":0,"call":"00000000000000ff","changes":[7,9],"releases":[]})"
      "\n"
      R"({"rerun":0})"
      "\n"
      R"({"run":1,"call":"9e3779b97f4a7c15","changes":[],"releases":[7]})"
      "\n";
  const Plan plan = plan_of(text);
  EXPECT_EQ(plan.label, "mlp batch 8");
  EXPECT_EQ(plan.operators,
            (std::vector<Foreseen>{{0xff, {7, 9}, {}}, {0x9e3779b97f4a7c15, {}, {7}}}));
  EXPECT_EQ(text_of(plan), text);
}

TEST(PlanFile, what_is_foreseen_of_some_operators_only_is_refused) {
  const std::string with = R"({"run":0,"call":"00000000000000ff","changes":[],"releases":[]})"
                           "\n";
  expect_refused(kHead + with + "{\"run\":1}\n", 3,
                 "\"call\": expected in each line of a run or in none");
  expect_refused(kHead + "{\"run\":0}\n" + with, 3,
                 "\"call\": expected in each line of a run or in none");
  for (const char* const key : {"changes", "releases"}) {
    expect_refused(kHead + exchanged(with, key, "other"), 2,
                   "the key \"" + std::string(key) + "\" is missing");
  }
  for (const char* const wrong : {"\"ff\"", "\"0000000000000000\"", "\"00000000000000fg\"", "255",
                                  "null", "\"00000000000000ff0\"", "\" 0000000000000ff\""}) {
    expect_refused(kHead + exchanged(with, "\"00000000000000ff\"", wrong), 2,
                   "\"call\": expected a text of 16 hexadecimal digits, not all of them 0");
  }
  Plan plan = plan_of(kHead + with);
  plan.steps.push_back({Action::Run, 1});
  EXPECT_THAT(refusal_of([&] { text_of(plan); }).text,
              HasSubstr("something is foreseen of 1 operators, and 2 run"));
}

TEST(PlanFile, any_plan_comes_back_equal_and_is_written_the_same_again) {
  rc::check([] {
    const auto number =
        rc::gen::oneOf(rc::gen::inRange<std::int64_t>(0, 100), rc::gen::nonNegative<std::int64_t>(),
                       rc::gen::just(std::numeric_limits<std::int64_t>::max()));
    Plan plan{.budget = *number, .predicted_peak = *number, .predicted_ns = *number};
    for (int left = *rc::gen::inRange(0, 50); left > 0; --left) {
      plan.steps.push_back({static_cast<Action>(*rc::gen::inRange(0, 5)), *number});
    }
    if (*rc::gen::arbitrary<bool>()) plan.predicted_offloaded = *number;
    if (*rc::gen::arbitrary<bool>()) {
      plan.label = "any";
      for (const Step& step : plan.steps) {
        if (step.action != Action::Run) continue;
        plan.operators.push_back({*rc::gen::inRange<std::uint64_t>(1, 1000), {*number}, {*number}});
      }
    }
    const std::string text = text_of(plan);
    const Plan again = plan_of(text);
    RC_ASSERT(again == plan);
    RC_ASSERT(text_of(again) == text);
  });
}

TEST(PlanFile, space_around_an_object_unknown_keys_and_a_last_line_without_its_end_are_taken) {
  const Plan plan = plan_of(kExample);
  std::string windows;
  for (const char c : kExample) windows += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(plan_of(windows), plan);
  EXPECT_EQ(
      plan_of(exchanged(kExample, "{\"free\":7}", " {\"note\":[1.5],\"free\":7,\"end\":1}\t")),
      plan);
  EXPECT_EQ(plan_of(kExample.substr(0, kExample.size() - 1)), plan);
}

TEST(PlanFile, heads_that_are_none_are_refused) {
  const auto with = [&](const char* old, const char* fresh) {
    return exchanged(kExample, old, fresh);
  };
  expect_refused("", 1, "cut short: expected the head, {\"neap_plan\":1, ...}, found nothing more");
  expect_refused("{\"run\":0}\n", 1, "expected the head");
  expect_refused("{\"neap_trace\":1}\n", 1, "is this another kind of file?");
  expect_refused(with("\"neap_plan\":1", "\"neap_plan\":3"), 1,
                 "version 3 is not known, expected 1 to 2");
  expect_refused(with("\"neap_plan\":1", "\"neap_plan\":1.0"), 1,
                 "\"neap_plan\": expected a whole number");
  expect_refused(with("\"neap_plan\":1", "\"neap_plan\":1,\"run\":0"), 1,
                 "found \"neap_plan\" and \"run\"");
  for (const std::string pair :
       {"\"budget\":1048576", "\"predicted_peak\":1040384", "\"predicted_ns\":812000"}) {
    const std::string key = pair.substr(0, pair.find(':'));
    expect_refused(exchanged(kExample, pair, "\"not_there\":0"), 1,
                   "the key " + key + " is missing");
    for (const char* wrong : {"-1", "1.0", "1e3", "\"1\"", "null", "[]", "9223372036854775808"}) {
      expect_refused(exchanged(kExample, pair, key + ':' + wrong), 1,
                     key + ": expected a whole number from 0 to 9223372036854775807");
    }
  }
  expect_refused(kHead + kExample, 2, "is a second head");
}

TEST(PlanFile, a_plan_with_copies_has_version_2_and_another_one_version_1) {
  const std::string text =
      R"({"neap_plan":2,"budget":9,"predicted_peak":8,"predicted_ns":7,"predicted_offloaded":6})"
      "\n{\"run\":0}\n{\"offload\":7}\n{\"free\":7}\n{\"load\":7}\n";
  const Plan plan = plan_of(text);
  EXPECT_EQ(plan.predicted_offloaded, 6);
  EXPECT_EQ(plan.steps,
            (std::vector<Step>{
                {Action::Run, 0}, {Action::Offload, 7}, {Action::Free, 7}, {Action::Load, 7}}));
  EXPECT_EQ(text_of(plan), text);
  expect_refused(exchanged(text, ",\"predicted_offloaded\":6", ""), 1,
                 "the key \"predicted_offloaded\" is missing");
  for (const char* key : {"offload", "load"}) {
    const std::string line = "{\"" + std::string(key) + "\":7}\n";
    expect_refused(kExample + line, 5,
                   '"' + std::string(key) + "\": a plan with this step has version 2");
    EXPECT_THAT(text_of(plan_of(exchanged(text, line, ""))), HasSubstr("\"neap_plan\":2"));
  }
  Plan without = plan;
  without.steps.resize(1);
  without.predicted_offloaded = 0;
  EXPECT_EQ(text_of(without), R"({"neap_plan":1,"budget":9,"predicted_peak":8,"predicted_ns":7})"
                              "\n{\"run\":0}\n");
  // In a file of version 1 the key says nothing.
  EXPECT_EQ(plan_of(exchanged(kExample, "\"budget\"", "\"predicted_offloaded\":-1,\"budget\"")),
            plan_of(kExample));
}

TEST(PlanFile, steps_that_are_none_are_refused) {
  const auto with = [&](const std::string& line) { return kHead + "{\"run\":0}\n" + line + "\n"; };
  expect_refused(with(""), 3, "is blank");
  expect_refused(with("{}"), 3, "found none");
  expect_refused(with("{\"end\":true}"), 3, "found none");
  expect_refused(with("{\"run\":1,\"free\":1}"), 3, "found \"run\" and \"free\"");
  expect_refused(with("{\"run\":1,\"run\":1}"), 3, "has the key \"run\" twice");
  expect_refused(with("[\"run\",1]"), 3, "expected an object, found a list");
  expect_refused(with("{\"run\":1"), 3, "is not JSON: at position 9: ");
  const std::string with_tier =
      exchanged(kHead, "\"neap_plan\":1", "\"neap_plan\":2,\"predicted_offloaded\":0");
  for (const char* key : {"run", "rerun", "free", "offload", "load"}) {
    for (const char* wrong : {"-1", "1.0", "1e0", "\"1\"", "null", "true", "[1]"}) {
      const std::string line = "{\"" + std::string(key) + "\":" + wrong + "}\n";
      expect_refused(with_tier + line, 2, '"' + std::string(key) + "\": expected a whole number");
    }
  }
}

TEST(PlanFile, wherever_a_line_is_cut_it_is_refused_and_between_two_the_steps_before_are_read) {
  const Plan plan = plan_of(kExample);
  for (std::size_t length = 0; length < kExample.size(); ++length) {
    SCOPED_TRACE(length);
    const std::string cut = kExample.substr(0, length);
    const auto lines = static_cast<std::size_t>(std::ranges::count(cut, '\n'));
    const bool between = length > 0 && (cut.back() == '\n' || kExample[length] == '\n');
    if (between) {
      Plan start = plan;
      start.steps.resize(lines - (cut.back() == '\n' ? 1 : 0));
      EXPECT_EQ(plan_of(cut), start);
    } else {
      expect_refused(cut, static_cast<std::int64_t>(lines) + 1, "cut short");
    }
  }
}

TEST(PlanFile, a_damaged_byte_is_refused_or_read_and_nothing_else) {
  read_with_each_byte_damaged(kExample, [](const std::string& damaged) {
    const Plan plan = plan_of(damaged);
    EXPECT_EQ(plan_of(text_of(plan)), plan);
  });
}

TEST(PlanFile, a_line_without_an_end_is_given_up_soon_after_1_mib) {
  EndlessLine endless(kExample);
  std::istream in(&endless);
  const Refusal found = refusal_of([&] { read_plan(in, "plan.jsonl"); });
  EXPECT_EQ(found.line, 5);
  EXPECT_THAT(found.text, HasSubstr("is longer than 1 MiB"));
  EXPECT_LE(endless.taken(), (std::size_t{1} << 20) + 2 * (std::size_t{1} << 16));
}

TEST(PlanFile, what_could_not_be_read_again_is_not_written) {
  const auto expect = [](const Plan& plan, std::int64_t line, const char* part) {
    const Refusal found = refusal_of([&] { static_cast<void>(text_of(plan)); });
    EXPECT_EQ(found.line, line) << found.text;
    EXPECT_THAT(found.text, HasSubstr(part));
  };
  expect({.budget = -1}, 1, "plan: line 1: \"budget\": expected a whole number");
  expect({.predicted_ns = -1}, 1, "\"predicted_ns\": ");
  expect({.steps = {{Action::Run, 0}, {Action::Free, -7}}}, 3, "\"free\": ");
}

class PlanOnDisk : public WithFolder {};

TEST_F(PlanOnDisk, plain_and_packed_files_are_read_the_same_and_damaged_ones_are_refused) {
  const Plan plan = plan_of(kExample);
  EXPECT_EQ(read_plan(file("plan.jsonl", kExample)), plan);
  const std::string whole = packed(kExample);
  EXPECT_EQ(read_plan(file("plan.jsonl.gz", whole)), plan);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Refusal found = refusal_of([&] { read_plan(file("cut.gz", whole.substr(0, length))); });
    EXPECT_GE(found.line, 1) << length << ": " << found.text;
  }
  EXPECT_THAT([&] { read_plan(folder_ / "nothing"); },
              testing::ThrowsMessage<InvalidArgument>(HasSubstr("cannot be opened")));
}

}  // namespace
}  // namespace neap::graph
