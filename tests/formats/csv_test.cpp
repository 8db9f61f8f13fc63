// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/csv.h"

#include "support/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace neap::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(CsvTable, has_its_label_last_or_where_it_is_named) {
  const std::string text = "width,kind,height\n1,cat,2.5\n-3e1,dog, +4 \n";
  const Csv by_name = parse_csv(text, "kind");
  EXPECT_THAT(by_name.names, ElementsAre("width", "height"));
  EXPECT_THAT(by_name.values, ElementsAre(1, 2.5, -30, 4));
  EXPECT_THAT(by_name.labels, ElementsAre("cat", "dog"));
  EXPECT_EQ(parse_csv(text, "2").labels, by_name.labels);
  const Csv last = parse_csv("1,2,0\n3,4,1\n");
  EXPECT_TRUE(last.names.empty());
  EXPECT_THAT(last.values, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(last.labels, ElementsAre("0", "1"));
}

TEST(CsvTable, has_quotes_other_separators_marks_and_line_ends) {
  EXPECT_THAT(parse_csv("\xEF\xBB\xBF"
                        "1;a\r\n2;b\r\n")
                  .values,
              ElementsAre(1, 2));
  EXPECT_THAT(parse_csv("1\t\"a\tb\"\n\n2\t\"say \"\"so\"\"\"").labels,
              ElementsAre("a\tb", "say \"so\""));
  EXPECT_THAT(parse_csv("\"1\",\"two\nlines\"\n3,x\n").labels, ElementsAre("two\nlines", "x"));
}

TEST(CsvTable, may_have_names_that_are_numbers_and_a_column_with_the_name_of_a_number) {
  const Csv pandas = parse_csv("0,1,label\n0.5,2,0\n0.25,3,1\n");
  EXPECT_THAT(pandas.names, ElementsAre("0", "1"));
  const std::string nines(130, '9');  // larger than any whole number
  EXPECT_THAT(parse_csv(nines + ",1,y\n4,5,0\n6,7,1\n").names, ElementsAre("1e+130", "1"));
  EXPECT_THAT(pandas.values, ElementsAre(0.5, 2, 0.25, 3));
  EXPECT_THAT(pandas.labels, ElementsAre("0", "1"));
  const Csv third = parse_csv("0.84,3,0\n0.5,4,1\n", "3");
  EXPECT_THAT(third.values, ElementsAre(0.84, 3, 0.5, 4));
  EXPECT_THAT(third.labels, ElementsAre("0", "1"));
}

TEST(CsvTable, has_blanks_tiny_and_large_numbers) {
  const Csv csv = parse_csv("1e-400, 1700000000 , 0\n-1e-50,2,0 \n");
  EXPECT_THAT(csv.values, ElementsAre(0, 1700000000, -1e-50, 2));
  EXPECT_THAT(csv.labels, ElementsAre("0", "0"));
}

TEST(CsvTable, that_cannot_be_used_says_in_which_line) {
  const auto why = [](const std::string& text, const std::string& label = "") {
    return test::message_of<std::exception>([&] { (void)parse_csv(text, label); });
  };
  EXPECT_THAT(why("1,a\n2,b\nx,c\n"), HasSubstr("line 3: cell 1 is no finite number: \"x\""));
  EXPECT_THAT(why("1,a\n2,b\n,c\n"), HasSubstr("line 3: cell 1 is no finite number: \"\""));
  EXPECT_THAT(why("1,a\nnan,b\n"), HasSubstr("line 2"));
  EXPECT_THAT(why("1,a\n1e400,b\n"), HasSubstr("line 2"));
  EXPECT_THAT(why("1,a\n+-5,b\n"), HasSubstr("line 2"));
  EXPECT_THAT(why("1,a\n2, \n"), HasSubstr("line 2: cell 2, the label, is empty"));
  EXPECT_THAT(why("1,\"two\nlines\"\n2\n"),
              HasSubstr("line 3: 1 cells, where the lines before it have 2"));
  EXPECT_THAT(why("1,\"a\n"), HasSubstr("a quote does not end"));
  EXPECT_THAT(why("1,\"a\"b\n"), HasSubstr("followed by something else"));
  EXPECT_THAT(why("1\n2\n"), HasSubstr("line 1: one column"));
  EXPECT_THAT(why("a,b\n"), HasSubstr("no row of numbers"));
  EXPECT_THAT(why(""), HasSubstr("no row of numbers"));
  EXPECT_THAT(why("1,2\n", "kind"), HasSubstr("no column has the name kind"));
  EXPECT_THAT(why(std::string("\xFF\xFE"
                              "1\0",
                              4)),
              HasSubstr("iconv"));
}

}  // namespace
}  // namespace neap::formats
