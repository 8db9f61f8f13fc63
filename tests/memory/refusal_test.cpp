// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A refusal that comes out of a kernel in Python is a BudgetExceeded again.
#include "memory/refusal.h"

#include <neap/memory.h>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>

namespace neap::memory {
namespace {

const std::string kText = "budget of 1.0 MiB exceeded: aten::mm needs 2.0 MiB";

void refuse() {
  try {
    throw BudgetExceeded(kText, Bytes(2 << 20), Bytes(3), Bytes(1 << 20), Bytes(5));
  } catch (const BudgetExceeded&) {
    note_refusal();
  }
}

void hand_on(const std::string& text) {
  try {
    throw std::runtime_error(text);
  } catch (...) {
    rethrow_refusal();
  }
}

TEST(Refusal, ComesBackWithItsFiguresFromWhatPythonSays) {
  refuse();
  for (const std::string its_class : {"RuntimeError", "OutOfMemoryError"}) {
    try {
      hand_on(its_class + ": " + kText + "\n\nAt:\n  kernel.py(3): run\n");
      FAIL() << "nothing was thrown";
    } catch (const BudgetExceeded& error) {
      EXPECT_EQ(error.what(), kText);
      EXPECT_EQ(error.need, Bytes(2 << 20));
      EXPECT_EQ(error.smallest_feasible, Bytes(5));
    }
  }
}

TEST(Refusal, OtherErrorsPassAsTheyAre) {
  refuse();
  for (const std::string& text :
       {std::string("RuntimeError: shapes differ"), "MyError: " + kText, kText, std::string()}) {
    try {
      hand_on(text);
      FAIL() << "nothing was thrown";
    } catch (const BudgetExceeded&) {
      ADD_FAILURE() << text;
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), text);
    }
  }
}

TEST(Refusal, IsOfOneThread) {
  refuse();
  std::thread([] {
    EXPECT_EQ(last_refusal(), nullptr);
    EXPECT_THROW(hand_on("RuntimeError: " + kText), std::runtime_error);
  }).join();
  EXPECT_NE(last_refusal(), nullptr);
}

}  // namespace
}  // namespace neap::memory
