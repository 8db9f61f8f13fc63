// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A trace file is read as the page on the formats says, and a written trace is read back as it was.
#include "graph/files.h"
#include "graph/random_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>
#include <random>

namespace neap::graph {
namespace {

using testing::HasSubstr;

TEST(TraceFile, the_example_of_the_formats_page_is_read_as_it_is_meant) {
  const Trace trace = trace_of(kTraceExample);
  EXPECT_EQ(trace.label, "resnet50 batch 16");
  EXPECT_EQ(trace.device, "cpu");
  EXPECT_EQ(trace.torch, "2.15.0");
  EXPECT_EQ(trace.keep, (std::vector<StorageId>{0}));
  ASSERT_EQ(trace.events.size(), 3U);
  EXPECT_EQ(trace.events[0], Event(Given{0, 4096, StorageKind::Parameter}));
  EXPECT_EQ(trace.events[1], Event(Operator{.name = "aten::addmm",
                                            .layer = "layer1.0.conv1",
                                            .phase = Phase::Forward,
                                            .reads = {0},
                                            .makes = {{7, 65536}},
                                            .ns = 51200}));
  EXPECT_EQ(trace.events[2], Event(Release{7}));
  EXPECT_EQ(text_of(trace), kTraceExample);
}

TEST(TraceFile, every_key_is_read_up_to_its_limit) {
  const Trace trace = trace_of(kTraceOfEveryKey);
  ASSERT_EQ(trace.events.size(), 4U);
  EXPECT_EQ(trace.events[1], Event(Operator{.name = "aten::a",
                                            .layer = "\xc3\xa9\"\\\x01",
                                            .phase = Phase::Backward,
                                            .mutates_once = {0},
                                            .makes = {{7, 0}, {9, std::int64_t{1} << 56}},
                                            .ns = std::int64_t{1} << 53,
                                            .workspace = std::int64_t{1} << 56,
                                            .random = true,
                                            .replayable = false,
                                            .call = 0x9e3779b97f4a7c15}));
  EXPECT_EQ(trace.events[2],
            Event(Given{std::numeric_limits<StorageId>::max(), 1, StorageKind::Input}));
  EXPECT_EQ(trace_of(text_of(trace)), trace);
}

TEST(TraceFile, the_bandwidths_of_a_tier_are_in_the_head_or_not_there) {
  const std::string with =
      exchanged(kTraceExample, "\"torch\":\"2.15.0\"",
                "\"torch\":\"2.15.0\",\"out_bytes_per_s\":3000000000,\"in_bytes_per_s\":"
                "9223372036854775807");
  const Trace trace = trace_of(with);
  EXPECT_EQ(trace.out_bytes_per_s, 3'000'000'000);
  EXPECT_EQ(trace.in_bytes_per_s, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(text_of(trace), with);
  EXPECT_EQ(trace_of(kTraceExample).out_bytes_per_s, 0);
}

TEST(TraceFile, every_kind_and_every_phase_comes_back) {
  Trace trace;
  for (int i = 0; i < 6; ++i) {
    trace.events.emplace_back(Given{i, 1, static_cast<StorageKind>(i)});
  }
  for (int i = 0; i < 4; ++i) {
    trace.events.emplace_back(Operator{.name = "a", .phase = static_cast<Phase>(i)});
  }
  EXPECT_EQ(trace_of(text_of(trace)), trace);
  for (const char* word :
       {"constant", "parameter", "buffer", "input", "gradient", "optimizer", "forward", "other"}) {
    EXPECT_THAT(text_of(trace), HasSubstr('"' + std::string(word) + '"'));
  }
}

TEST(TraceFile, space_around_an_object_unknown_keys_and_a_last_line_without_its_end_are_taken) {
  const Trace trace = trace_of(kTraceExample);
  std::string windows;
  for (const char c : kTraceExample) windows += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(trace_of(windows), trace);
  EXPECT_EQ(trace_of(exchanged(kTraceExample, "{\"release\":7}", " \t{ \"release\" : 7 }\t ")),
            trace);
  const char* const more = R"({"note":{"of":[1.5,-3,null,{"a":{}}]},"release":7,"version":2})";
  EXPECT_EQ(trace_of(exchanged(kTraceExample, "{\"release\":7}", more)), trace);
  EXPECT_EQ(trace_of(kTraceExample.substr(0, kTraceExample.size() - 1)), trace);
}

TEST(TraceFile, an_empty_step_is_a_trace) {
  const Trace empty{.label = "nothing", .torch = "2.15.0"};
  EXPECT_EQ(trace_of(text_of(empty)), empty);
}

// ---------------------------------------------------------------- Any trace

const std::vector<std::string> kTextParts{
    "aB.0::", " \"\\/", "\n\t\x7f", std::string(1, '\0'), "\xc3\xa9", "\xf0\x9f\x8c\x8a", "{}[],"};

std::string any_text(std::mt19937_64& engine) {
  std::string text;
  for (std::int64_t left = below(engine, 12); left > 0; --left) text += any_of(engine, kTextParts);
  return text;
}

// A random trace with any text in its texts, and any value in fields that no rule ties to others.
Trace any_trace(std::mt19937_64& engine) {
  Trace trace = random_trace(engine, {.operators = below(engine, 30)});
  trace.label = any_text(engine);
  trace.device = any_text(engine);
  trace.torch = any_text(engine);
  trace.reserved = below(engine, 2) * below(engine, std::int64_t{1} << 60);
  for (Event& event : trace.events) {
    auto* const op = std::get_if<Operator>(&event);
    if (op == nullptr) continue;
    op->name = any_text(engine);
    op->layer = any_text(engine);
    op->phase = static_cast<Phase>(below(engine, 4));
    op->random = chance(engine, 50);
    if (chance(engine, 50)) op->call = engine();
    if (chance(engine, 50)) op->reserved = below(engine, std::int64_t{1} << 60);
    op->ns = below(engine, std::int64_t{1} << below(engine, 48));
    op->workspace = below(engine, std::int64_t{1} << below(engine, 56));
  }
  return trace;
}

TEST(TraceFile, any_trace_comes_back_equal_and_is_written_the_same_again) {
  rc::check([](std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    const Trace trace = any_trace(engine);
    const std::string text = text_of(trace);
    const Trace again = trace_of(text);
    RC_ASSERT(again == trace);
    RC_ASSERT(text_of(again) == text);
  });
}

// ---------------------------------------------------------------- Files

class TraceOnDisk : public WithFolder {};

TEST_F(TraceOnDisk, plain_and_packed_files_are_read_the_same) {
  const Trace trace = trace_of(kTraceExample);
  EXPECT_EQ(read_trace(file("step.jsonl", kTraceExample)), trace);
  EXPECT_EQ(read_trace(file("step.jsonl.gz", packed(kTraceExample))), trace);
  // As in gzip, two streams one after the other are one file.
  EXPECT_EQ(read_trace(file(
                "two.gz", packed(kTraceExample.substr(0, 99)) + packed(kTraceExample.substr(99)))),
            trace);
}

TEST_F(TraceOnDisk, a_packed_file_that_is_cut_short_is_refused) {
  const std::string whole = packed(kTraceExample);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    SCOPED_TRACE(length);
    const std::filesystem::path path = file("cut.gz", whole.substr(0, length));
    const Refusal found = refusal_of([&] { read_trace(path); });
    EXPECT_GE(found.line, 1) << found.text;
    EXPECT_THAT(found.text, HasSubstr(path.string() + ": line "));
    if (length >= 3) {
      EXPECT_THAT(found.text, HasSubstr("the gzip stream is damaged"));
    }
  }
}

TEST_F(TraceOnDisk, damage_in_a_packed_file_names_the_line_that_was_reached) {
  std::string text = kTraceHead;
  for (int i = 0; i < 20000; ++i) {
    text += "{\"storage\":" + std::to_string(i) + ",\"bytes\":" + std::to_string(i * 7919 % 10007) +
            ",\"kind\":\"input\"}\n";
  }
  std::string damaged = packed(text + "{\"end\":true,\"keep\":[]}\n");
  damaged.resize(damaged.size() / 2);
  const Refusal found = refusal_of([&] { read_trace(file("half.gz", damaged)); });
  EXPECT_THAT(found.text, HasSubstr("here or further on the gzip stream is damaged"));
  EXPECT_GT(found.line, 5000);
  EXPECT_LT(found.line, 15000);
}

TEST_F(TraceOnDisk, a_damaged_byte_of_a_packed_file_is_refused_or_means_nothing) {
  const Trace trace = trace_of(kTraceExample);
  int refused = 0;
  const std::string whole = packed(kTraceExample);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    try {
      EXPECT_EQ(read_trace(file("damaged.gz", damaged)), trace) << at;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  // The other bytes are time, level and system in the head of the stream. No checksum covers them.
  EXPECT_GE(refused, static_cast<int>(whole.size()) - 6);
}

TEST_F(TraceOnDisk, what_cannot_be_read_at_all_is_refused_with_its_path) {
  EXPECT_THAT([&] { read_trace(folder_); }, testing::ThrowsMessage<InvalidArgument>(
                                                HasSubstr(folder_.string() + ": is a folder")));
  EXPECT_THAT([&] { read_trace(folder_ / "nothing"); },
              testing::ThrowsMessage<InvalidArgument>(
                  HasSubstr((folder_ / "nothing").string() + ": cannot be opened: No such file")));
  std::ifstream closed(folder_ / "nothing");
  EXPECT_THAT(
      [&] { read_trace(closed, "a stream"); },
      testing::ThrowsMessage<InvalidArgument>(HasSubstr("a stream: the stream cannot be read")));
}

}  // namespace
}  // namespace neap::graph
