// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A trace file may come from another program, another version or a full disk. The reader refuses
// what is no trace, and names the line.
#include "graph/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace neap::graph {
namespace {

using testing::HasSubstr;

Refusal refusal(const std::string& text) {
  return refusal_of([&] { trace_of(text); });
}

void expect_refused(const std::string& text, std::int64_t line, const std::string& part) {
  SCOPED_TRACE(text.substr(0, 400));
  const Refusal found = refusal(text);
  EXPECT_EQ(found.line, line) << found.text;
  EXPECT_THAT(found.text, HasSubstr("step.jsonl: line " + std::to_string(line) + ": "));
  EXPECT_THAT(found.text, HasSubstr(part));
}

TEST(TraceFileErrors, heads_that_are_none_are_refused) {
  const std::string rest = kTraceExample.substr(kTraceHead.size());
  const auto head = [&](const std::string& text) { return text + '\n' + rest; };
  const auto with = [&](const char* old, const char* fresh) {
    return exchanged(kTraceExample, old, fresh);
  };
  expect_refused("", 1,
                 "cut short: expected the head, {\"neap_trace\":1, ...}, found nothing more");
  expect_refused("\n", 1, "is blank");
  expect_refused(rest, 1, "expected the head");
  expect_refused(head(R"({"neap_plan":1,"budget":1})"), 1, "is this another kind of file?");
  expect_refused(with("\"neap_trace\":1", "\"neap_trace\":2"), 1,
                 "version 2 is not known, expected 1");
  expect_refused(with("\"neap_trace\":1", "\"neap_trace\":0"), 1, "version 0 is not known");
  expect_refused(with("\"neap_trace\":1", "\"neap_trace\":\"1\""), 1,
                 "\"neap_trace\": expected a whole number");
  expect_refused(with("\"neap_trace\":1", "\"neap_trace\":1,\"end\":true"), 1,
                 "\"neap_trace\" and \"end\"");
  expect_refused(with("\"label\":\"resnet50 batch 16\",", ""), 1, "the key \"label\" is missing");
  expect_refused(with("\"device\":\"cpu\",", ""), 1, "the key \"device\" is missing");
  expect_refused(with(",\"torch\":\"2.15.0\"", ""), 1, "the key \"torch\" is missing");
  expect_refused(with("\"2.15.0\"", "2.15"), 1, "\"torch\": expected a text, found 2.15");
  expect_refused(kTraceHead + kTraceExample, 2, "is a second head");
}

TEST(TraceFileErrors, bandwidths_are_above_0_and_both_there_or_none) {
  const auto with = [](const std::string& keys) {
    return exchanged(kTraceExample, "\"2.15.0\"", "\"2.15.0\"" + keys);
  };
  for (const std::string key : {"out_bytes_per_s", "in_bytes_per_s"}) {
    expect_refused(with(",\"" + key + "\":1"), 1, "expected both above 0, or neither");
    expect_refused(with(",\"" + key + "\":0"), 1,
                   '"' + key + "\": expected a whole number above 0, found 0");
    for (const char* wrong : {"-1", "1.0", "1e9", "\"3GB/s\"", "null", "9223372036854775808"}) {
      expect_refused(with(",\"" + key + "\":" + wrong), 1,
                     '"' + key + "\": expected a whole number");
    }
  }
}

TEST(TraceFileErrors, lines_of_no_kind_and_of_two_are_refused) {
  const auto with = [&](const std::string& line) { return kTraceHead + line + "\n"; };
  expect_refused(with("{}"), 2, "expected exactly one of the keys");
  expect_refused(with(R"({"Storage":0,"bytes":1,"kind":"input"})"), 2, "found none");
  expect_refused(with(R"({"storage":0,"bytes":1,"kind":"input","release":0})"), 2,
                 "found \"storage\" and \"release\"");
  expect_refused(with("[]"), 2, "expected an object, found a list");
  expect_refused(with("7"), 2, "expected an object, found 7");
  expect_refused(with("\"op\""), 2, "expected an object, found \"op\"");
  expect_refused(with("null"), 2, "expected an object, found null");
}

TEST(TraceFileErrors, lines_that_are_no_json_are_refused_with_the_position) {
  const auto with = [&](const std::string& line) {
    return exchanged(kTraceExample, "{\"release\":7}", line);
  };
  expect_refused(with("{\"release\":7"), 4, "is not JSON: at position 13: ");
  expect_refused(with("{\"release\":7}}"), 4, "is not JSON: at position 14: ");
  expect_refused(with("{\"release\":7} {\"release\":8}"), 4, "is not JSON");
  expect_refused(with("{'release':7}"), 4, "is not JSON: at position 2: ");
  expect_refused(with("{\"release\":7,}"), 4, "is not JSON");
  expect_refused(with("{\"release\":07}"), 4, "is not JSON");
  expect_refused(with("{\"release\":NaN}"), 4, "is not JSON");
  expect_refused(with("// {\"release\":7}"), 4, "is not JSON");
  expect_refused(with("{\"release\":7,\"x\":\"\xff\"}"), 4, "UTF-8");
  expect_refused(with("{\"release\":7,\"x\":\"\xc3\"}"), 4, "UTF-8");
  expect_refused(with("{\"release\":7,\"x\":\"\xed\xa0\x80\"}"), 4, "UTF-8");
  expect_refused(with("{\"release\":7,\"x\":\"\xc0\x80\"}"), 4, "UTF-8");
  expect_refused(with("{\"release\":7,\"x\":\"\\ud800\"}"), 4, "is not JSON");
  expect_refused(with("{\"release\":7,\"x\":\"\x01\"}"), 4, "is not JSON");
  expect_refused(with("{\"release\":7,\"x\":1e999}"), 4, "is not JSON: number overflow");
  expect_refused(with("{\"release\":7}" + std::string("\0{", 2)), 4, "byte of value 0");
  expect_refused(with("\xEF\xBB\xBF{\"release\":7}"), 4, "byte order mark");
  expect_refused("\xEF\xBB\xBF" + kTraceExample, 1, "byte order mark");
  expect_refused(with(""), 4, "is blank");
  expect_refused(with(" \t\r"), 4, "is blank");
  expect_refused(with("{\"release\":7,\"release\":7}"), 4, "has the key \"release\" twice");
  expect_refused(with("{\"release\":7,\"x\":{\"a\":1,\"b\":{\"a\":1},\"a\":2}}"), 4,
                 "has the key \"a\" twice");
  expect_refused(with("{\"release\":7,\"x\":" + std::string(500000, '[')), 4,
                 "is nested deeper than 32");
}

TEST(TraceFileErrors, a_message_holds_a_short_and_printable_piece_of_what_was_found) {
  const std::string much(100000, 'x');
  for (const std::string& line : {
           "{\"release\":\"" + much + "\xc3\xa9\"}",          // a value of the wrong type
           "{\"release\":\"\xff\x1b[31m" + much,              // no JSON
           "{\"\\u001b[31m\":0,\"\\u001b[31m" + much + "\"",  // no JSON, with a key that was read
           std::string(R"({"\u001b[31m\u00e9":0,"\u001b[31m\u00e9":0})"),  // a key twice
       }) {
    const Refusal found = refusal(kTraceHead + line);
    EXPECT_EQ(found.line, 2);
    EXPECT_LT(found.text.size(), 300U);
    for (const char c : found.text) EXPECT_TRUE(c >= ' ' && c <= '~') << found.text;
  }
}

TEST(TraceFileErrors, each_key_of_a_line_must_be_there_and_of_its_type) {
  struct Row {
    std::int64_t line;
    const char* key;
    const char* value;     // in kTraceExample
    const char* expected;  // by the message
    std::vector<const char*> wrong;
  };
  const char* const number = "expected a whole number from 0 to ";
  const char* const flag = "expected true or false";
  const std::vector<Row> rows{
      {2, "storage", "0", number, {"-1", "0.0", "\"0\"", "null", "9223372036854775808"}},
      {2,
       "bytes",
       "4096",
       number,
       {"-1", "1.0", "1e3", "\"1\"", "null", "true", "[1]", "{}", "72057594037927937",
        "9223372036854775808", "18446744073709551616", "123456789012345678901234567890"}},
      {2,
       "kind",
       "\"parameter\"",
       "expected \"constant\", \"parameter\"",
       {"\"Parameter\"", "\"\"", "1", "null"}},
      {3, "op", "0", number, {"-1", "0.0", "\"0\"", "null"}},
      {3, "name", "\"aten::addmm\"", "expected a text", {"0", "null", "[\"a\"]"}},
      {3, "in", "[0]", "expected a list", {"0", "null", "\"0\"", "{}"}},
      {3,
       "out",
       R"([{"storage":7,"bytes":65536}])",
       "expected a list",
       {"0", "null", R"({"storage":7,"bytes":65536})"}},
      {3, "mutates", "[]", "expected a list", {"0", "null", "{}"}},
      {3, "ns", "51200", number, {"-1", "5.5", "51200.0", "9007199254740993", "null"}},
      {3, "workspace", "0", number, {"-1", "0.0", "72057594037927937", "null"}},
      {3, "random", "false", flag, {"0", "null", "\"false\""}},
      {3,
       "phase",
       "\"forward\"",
       "expected \"forward\", \"backward\"",
       {"\"Forward\"", "\"\"", "0", "null"}},
      {3, "scope", "\"layer1.0.conv1\"", "expected a text", {"0", "null"}},
      {4, "release", "7", number, {"-7", "7.0", "7e0", "\"7\"", "null", "[7]"}},
      {5, "end", "true", flag, {"1", "null", "\"true\""}},
      {5, "keep", "[0]", "expected a list", {"0", "null", "true"}},
  };
  for (const Row& row : rows) {
    const std::string key = '"' + std::string(row.key) + "\":";
    const std::string pair = key + row.value;
    // "storage" and "bytes" stand in two lines. The row means the first of them.
    const std::size_t at = kTraceExample.find(pair);
    ASSERT_NE(at, std::string::npos) << pair;
    for (const char* wrong : row.wrong) {
      std::string text = kTraceExample;
      text.replace(at, pair.size(), key + wrong);
      expect_refused(text, row.line, key + ' ' + row.expected);
    }
    std::string text = kTraceExample;
    text.replace(at, pair.size(), "\"not_there\":0");
    const bool names_the_line =
        std::set<std::string>{"storage", "op", "release", "end"}.contains(row.key);
    expect_refused(text, row.line,
                   names_the_line ? "exactly one of the keys"
                                  : "the key \"" + std::string(row.key) + "\" is missing");
  }
}

TEST(TraceFileErrors, items_of_lists_are_named_by_their_place) {
  const auto with = [&](const char* old, const char* fresh) {
    return exchanged(kTraceExample, old, fresh);
  };
  expect_refused(with("\"in\":[0]", "\"in\":[0,0,-1]"), 3,
                 "\"in\", item 3: expected a whole number");
  expect_refused(with("\"keep\":[0]", "\"keep\":[0.0]"), 5, "\"keep\", item 1: ");
  expect_refused(with("\"mutates\":[]", "\"mutates\":[[0]]"), 3,
                 "\"mutates\", item 1: expected a whole number from 0 to 9223372036854775807, "
                 "without point or exponent, found a list");
  expect_refused(with("\"bytes\":65536}", "\"bytes\":65536},7"), 3,
                 "\"out\", item 2: expected an object, found 7");
  expect_refused(with("\"bytes\":65536}", "\"bytes\":65536},{\"storage\":8}"), 3,
                 "\"out\", item 2: the key \"bytes\" is missing");
  expect_refused(with("{\"storage\":7,", "{\"storage\":\"7\","), 3,
                 "\"out\", item 1: \"storage\": expected a whole number");
  expect_refused(with("\"mutates\":[]", "\"mutates\":[],\"mutates_once\":0"), 3,
                 "\"mutates_once\": expected a list");
  expect_refused(with("\"mutates\":[]", "\"mutates\":[],\"replayable\":0"), 3,
                 "\"replayable\": expected true or false");
}

TEST(TraceFileErrors, operators_count_from_0_in_order) {
  expect_refused(exchanged(kTraceExample, "\"op\":0", "\"op\":1"), 3, "expected 0, found 1");
  expect_refused(exchanged(kTraceOfEveryKey, "\"op\":1", "\"op\":0"), 5, "expected 1, found 0");
  expect_refused(exchanged(kTraceOfEveryKey, "\"op\":1", "\"op\":2"), 5, "expected 1, found 2");
}

TEST(TraceFileErrors, the_end_is_there_once_and_last) {
  const std::string end = R"({"end":true,"keep":[0]})"
                          "\n";
  const std::string open = kTraceExample.substr(0, kTraceExample.size() - end.size());
  expect_refused(open, 5, "cut short: expected an event or the end");
  expect_refused(kTraceExample + end, 6, "stands after the end");
  expect_refused(kTraceExample + "{\"release\":0}\n", 6, "stands after the end");
  expect_refused(kTraceExample + "\n", 6, "is blank");
  expect_refused(kTraceExample + " ", 6, "is blank");
  expect_refused(open + R"({"end":false,"keep":[0]})", 5, "\"end\": expected true, found false");
}

TEST(TraceFileErrors, sums_that_no_computer_has_are_refused_where_they_are_passed) {
  std::string text = kTraceHead;
  for (int i = 0; i < 17; ++i) {
    text +=
        "{\"storage\":" + std::to_string(i) + ",\"bytes\":72057594037927936,\"kind\":\"input\"}\n";
  }
  expect_refused(text + "{\"end\":true,\"keep\":[]}", 18, "expected at most 2^60");
  std::string made = R"({"storage":20,"bytes":72057594037927936})";
  for (int i = 21; i < 200; ++i) {
    made += ",{\"storage\":" + std::to_string(i) + ",\"bytes\":72057594037927936}";
  }
  expect_refused(exchanged(kTraceExample, R"({"storage":7,"bytes":65536})", made), 3,
                 "expected at most 2^60");
  expect_refused(exchanged(kTraceOfEveryKey, "\"ns\":0", "\"ns\":1"), 5,
                 "all operators so far take 9007199254740993 ns, expected at most 2^53");
}

TEST(TraceFileErrors, the_rules_about_ids_are_those_of_the_program_with_the_name_of_the_file) {
  expect_refused(exchanged(kTraceExample, "\"release\":7", "\"release\":8"), 4, "storage 8");
  expect_refused(exchanged(kTraceExample, "\"in\":[0]", "\"in\":[7]"), 3, "storage 7");
  expect_refused(exchanged(kTraceExample, "\"keep\":[0]", "\"keep\":[1]"), 5, "storage 1");
  expect_refused(exchanged(kTraceExample, "{\"storage\":7,", "{\"storage\":0,"), 3, "storage 0");
  EXPECT_THAT(refusal(exchanged(kTraceExample, "\"keep\":[0]", "\"keep\":[1]")).text,
              testing::Not(HasSubstr("trace: ")));
}

TEST(TraceFileErrors, wherever_the_file_is_cut_it_is_refused) {
  for (const std::string& text : {kTraceExample, kTraceOfEveryKey}) {
    const std::int64_t lines = std::ranges::count(text, '\n');
    for (std::size_t length = 0; length + 1 < text.size(); ++length) {
      const Refusal found = refusal(text.substr(0, length));
      const std::int64_t line = 1 + std::ranges::count(text.substr(0, length), '\n');
      // A line that lacks only its "\n" is whole. Then the line after it is missing.
      EXPECT_EQ(found.line, line + (text[length] == '\n' ? 1 : 0)) << length << ": " << found.text;
      EXPECT_LE(found.line, lines);
      EXPECT_THAT(found.text, HasSubstr("cut short"));
    }
  }
}

TEST(TraceFileErrors, a_damaged_byte_is_refused_or_read_and_nothing_else) {
  for (const std::string& text : {kTraceExample, kTraceOfEveryKey}) {
    read_with_each_byte_damaged(text, [](const std::string& damaged) {
      const Trace trace = trace_of(damaged);
      EXPECT_EQ(trace_of(text_of(trace)), trace);
    });
  }
}

// ---------------------------------------------------------------- Long lines

TEST(TraceFileErrors, a_line_of_1_mib_is_read_and_one_byte_more_is_refused) {
  const std::string short_label = "resnet50 batch 16";
  const std::string rest = kTraceExample.substr(kTraceHead.size());
  const std::size_t most = std::size_t{1} << 20;
  const std::string label(most - (kTraceHead.size() - 1) + short_label.size(), 'x');
  const std::string head = exchanged(kTraceHead, short_label, label);
  ASSERT_EQ(head.size(), most + 1);  // its "\n" is not counted
  EXPECT_EQ(trace_of(head + rest).label, label);
  EXPECT_EQ(text_of(trace_of(head + rest)), head + rest);
  expect_refused(exchanged(head, label, label + 'x') + rest, 1, "is longer than 1 MiB");

  Trace trace = trace_of(head + rest);
  trace.label += 'x';
  const Refusal found = refusal_of([&] { static_cast<void>(text_of(trace)); });
  EXPECT_EQ(found.line, 1);
  EXPECT_EQ(found.text, "trace: line 1: would take 1048577 bytes, more than 1 MiB (1048576)");
}

TEST(TraceFileErrors, a_line_without_an_end_is_given_up_soon_after_1_mib) {
  EndlessLine endless(kTraceHead + "{\"storage");
  std::istream in(&endless);
  const Refusal found = refusal_of([&] { read_trace(in, "step.jsonl"); });
  EXPECT_EQ(found.line, 2);
  EXPECT_THAT(found.text, HasSubstr("is longer than 1 MiB"));
  EXPECT_LE(endless.taken(), (std::size_t{1} << 20) + 2 * (std::size_t{1} << 16));
}

// ---------------------------------------------------------------- Writing

TEST(TraceFileErrors, what_could_not_be_read_again_is_not_written) {
  const auto refused = [](const Trace& trace) {
    return refusal_of([&] { static_cast<void>(text_of(trace)); });
  };
  const auto expect = [&](const Trace& trace, std::int64_t line, const char* part) {
    const Refusal found = refused(trace);
    EXPECT_EQ(found.line, line) << found.text;
    EXPECT_THAT(found.text, HasSubstr(part));
  };
  expect({.events = {Given{.bytes = -1}}}, 2, "bytes of -1; must not be negative");
  expect({.events = {Given{.bytes = (std::int64_t{1} << 56) + 1}}}, 2, "\"bytes\": ");
  expect({.events = {Given{.storage = -1}}}, 2, "\"storage\": expected a whole number");
  expect({.events = {Operator{.name = "a", .ns = -1}}}, 2, "ns of -1; must not be negative");
  expect({.events = {Operator{.name = "a", .workspace = -1}}}, 2,
         "a workspace of -1; must not be negative");
  expect({.events = {Operator{.name = "\xff"}}}, 2, "\"name\": expected a text in UTF-8");
  expect({.events = {Operator{.name = "a", .reads = {3}}}}, 2, "storage 3");
  expect({.events = {Release{3}}}, 2, "storage 3");
  expect({.keep = {3}}, 2, "storage 3");
  const Operator slow{.name = "a", .ns = std::int64_t{1} << 52};
  expect({.events = {slow, slow, slow}}, 4, "\"ns\": all operators so far take");
}

}  // namespace
}  // namespace neap::graph
