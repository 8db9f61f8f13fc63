// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// If a table is a column off, or a CSV's cell holds a comma, a person or a program reads it wrongly
// later. So these tests compare whole outputs.
#include <neap/report.h>

#include <gtest/gtest.h>

#include <functional>

namespace {

using neap::report::Align;
using neap::report::Table;

Table models() {
  Table table({{"model", Align::Left}, {"batch"}, {"peak"}});
  table.add_row({"resnet", "32", "404.0 MiB"});
  table.add_row({"gpt", "8", "1.5 GiB"});
  return table;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const neap::InvalidArgument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Table, text_aligns_columns_to_their_widest_cell) {
  EXPECT_EQ(models().text(),
            "model   batch       peak\n"
            "------  -----  ---------\n"
            "resnet     32  404.0 MiB\n"
            "gpt         8    1.5 GiB\n");
}

TEST(Table, text_counts_characters_and_not_bytes) {
  Table table({{"name", Align::Left}, {"n"}});
  table.add_row({"s\xC3\xA9quence", "1"});  // an accented letter of two bytes
  table.add_row({"\xF0\x9F\x8C\x8A", "2"});
  table.add_row({"\xFF", "3"});  // not UTF-8: each byte is a character
  EXPECT_EQ(table.text(),
            "name      n\n"
            "--------  -\n"
            "s\xC3\xA9quence  1\n"
            "\xF0\x9F\x8C\x8A         2\n"
            "\xFF         3\n");
}

TEST(Table, text_leaves_no_spaces_at_the_end_of_a_line) {
  Table table({{"a", Align::Left}, {"why", Align::Left}});
  table.add_row({"x", "a long reason"});
  table.add_row({"y", ""});
  EXPECT_EQ(table.text(), "a  why\n-  -------------\nx  a long reason\ny\n");
}

TEST(Table, a_cell_is_one_line_in_text_and_markdown) {
  Table table({{"a\nb", Align::Left}});
  table.add_row({"x\r\ty\nz"});
  EXPECT_EQ(table.text(), "a b\n------\nx  y z\n");
  EXPECT_EQ(table.markdown(), "| a b |\n|---|\n| x  y z |\n");
}

TEST(Table, markdown_says_how_columns_are_aligned_and_escapes_bars) {
  Table table = models();
  table.add_row({"a|b", "1", ""});
  EXPECT_EQ(table.markdown(),
            "| model | batch | peak |\n"
            "|---|---:|---:|\n"
            "| resnet | 32 | 404.0 MiB |\n"
            "| gpt | 8 | 1.5 GiB |\n"
            "| a\\|b | 1 |  |\n");
}

TEST(Table, csv_quotes_commas_quotes_and_line_breaks_and_nothing_else) {
  Table table({{"name"}, {"text, with a comma"}});
  table.add_row({"plain", "a,b"});
  table.add_row({"say \"hello\"", "two\nlines"});
  table.add_row({"=1+2", "a\r"});
  EXPECT_EQ(table.csv(),
            "name,\"text, with a comma\"\r\n"
            "plain,\"a,b\"\r\n"
            "\"say \"\"hello\"\"\",\"two\nlines\"\r\n"
            "=1+2,\"a\r\"\r\n");
}

TEST(Table, without_rows_has_its_names) {
  const Table table({{"a"}, {"b"}});
  EXPECT_EQ(table.text(), "a  b\n-  -\n");
  EXPECT_EQ(table.csv(), "a,b\r\n");
  EXPECT_EQ(table.rows(), 0);
}

TEST(Table, refuses_a_row_of_another_length_and_no_columns) {
  EXPECT_EQ(message_of([] { models().add_row({"resnet"}); }),
            "a row of 1 cells in a table of 3 columns; give each column a cell, an empty one for "
            "nothing");
  EXPECT_EQ(message_of([] { const Table table({}); }),
            "a table without columns: name one at least");
}

TEST(Table, fixed_rounds_to_the_decimals_that_are_asked_for) {
  EXPECT_EQ(neap::report::fixed(1.25, 1), "1.2");
  EXPECT_EQ(neap::report::fixed(-0.126, 2), "-0.13");
  EXPECT_EQ(neap::report::fixed(1e20, 0), "100000000000000000000");
}

}  // namespace
