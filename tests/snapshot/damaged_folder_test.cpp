// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The folder of a snapshot is damaged at random, in thousands of ways: bytes, missing files, and
// records and headers that say something else and have the right checksums. It is refused with an
// Error, and then nothing has changed; or it is loaded. NEAP_SEED draws others.
#include "base/stable_hash.h"
#include "snapshot/saved_training.h"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <map>
#include <random>

namespace neap::train {
namespace {

using Json = nlohmann::ordered_json;
using Files = std::map<std::string, std::string>;

constexpr const char* kRecord = "snapshot.json";
constexpr std::size_t kLength = 8;  // of the number before the header of a safetensors file

std::string hexadecimal(std::uint64_t number) {
  std::ostringstream digits;
  digits << std::hex << number;
  return digits.str();
}

class Damage {
 public:
  explicit Damage(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t end) { return random_() % std::max<std::size_t>(end, 1); }

  // Bytes of one file, or all of it.
  void bytes(Files& files) {
    auto file = std::next(files.begin(), static_cast<std::ptrdiff_t>(below(files.size())));
    std::string& text = file->second;
    switch (below(4)) {
      case 0:
        files.erase(file);
        break;
      case 1:
        text.resize(below(text.size()));
        break;
      case 2:
        text.insert(below(text.size()), below(100), static_cast<char>(below(256)));
        break;
      default:
        for (std::size_t i = below(4) + 1; i > 0; --i) {
          text[below(text.size())] ^= static_cast<char>(1 << below(8));
        }
    }
  }

  // What snapshot.json says, with its checksum.
  void record(Files& files) {
    Json json = Json::parse(files.at(kRecord));
    json.erase("xxh3");
    change(json);
    sign(files, json);
  }

  // What the header of a file of tensors says. snapshot.json has the new checksum of the file.
  void header(Files& files) {
    const std::string name = below(2) == 0 ? "model.safetensors" : "state.safetensors";
    std::string& file = files.at(name);
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), kLength);
    Json header = Json::parse(file.substr(kLength, length));
    change(header);
    const std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
    const std::string tensors = file.substr(kLength + length);
    length = text.size();
    file.assign(kLength, '\0');
    std::memcpy(file.data(), &length, kLength);
    file += text + tensors;
    Json json = Json::parse(files.at(kRecord));
    json.erase("xxh3");
    json["files"][name]["bytes"] = file.size();
    json["files"][name]["xxh3"] = hexadecimal(stable_hash(file.data(), file.size()));
    sign(files, json);
  }

 private:
  static void sign(Files& files, const Json& json) {
    std::string text = json.dump(1, ' ', false, Json::error_handler_t::replace);
    if (!json.is_object() || json.empty()) text = "{\n}";
    text.resize(text.rfind("\n}"));
    files[kRecord] =
        text + ",\n \"xxh3\": \"" + hexadecimal(stable_hash(text.data(), text.size())) + "\"\n}\n";
  }

  Json other_value() {
    const std::array<Json, 14> values{nullptr,
                                      true,
                                      0,
                                      -1,
                                      1.5,
                                      1e300,
                                      std::int64_t{1} << 40,
                                      "",
                                      "F64",
                                      "x",
                                      Json::array(),
                                      Json::object(),
                                      {1, -1, "x"},
                                      std::numeric_limits<std::uint64_t>::max()};
    return values.at(below(values.size()));
  }

  // One place in it, at any depth.
  void change(Json& json) {
    Json* at = &json;
    while (at->is_structured() && !at->empty()) {
      auto child = at->begin();
      std::advance(child, static_cast<std::ptrdiff_t>(below(at->size())));
      const std::size_t what = below(8);
      if (what == 0) {
        at->erase(child);
        return;
      }
      if (what == 1 && at->is_object()) {
        const Json value = *child;
        (*at)["name " + std::to_string(below(3))] = value;
        return;
      }
      if (what == 2 || !child->is_structured() || child->empty()) {
        *child = other_value();
        return;
      }
      at = &*child;
    }
    *at = other_value();
  }

  std::mt19937_64 random_;
};

class DamagedFolder : public testing::Test, protected Folder {
 protected:
  static void put(const fs::path& folder, const Files& files) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    for (const auto& [name, bytes] : files) {
      std::ofstream(folder / name, std::ios::binary) << bytes;
    }
  }
};

TEST_F(DamagedFolder, is_refused_and_nothing_has_changed_or_is_loaded) {
  const char* const wanted = std::getenv("NEAP_SEED");
  const std::uint64_t seed = wanted == nullptr ? 1 : std::strtoull(wanted, nullptr, 10);
  Training saved;
  saved.train(0, 2);
  const fs::path snapshot = save(path(), *saved.model, *saved.optimizer, {.step = 2});
  Files whole;
  for (const auto& file : fs::directory_iterator(snapshot)) {
    std::ifstream in(file.path(), std::ios::binary);
    whole[file.path().filename().string()] = {std::istreambuf_iterator<char>(in), {}};
  }
  ASSERT_EQ(whole.size(), 3U);
  Training other(adamw, 5);
  other.train(0, 1);
  State before = other.state();
  int refused = 0, loaded = 0;
  constexpr int kDamages = 3000;
  for (int i = 0; i < kDamages; ++i) {
    SCOPED_TRACE("damage " + std::to_string(i) + ", seed " + std::to_string(seed));
    Damage damage(seed * 1'000'003 + static_cast<std::uint64_t>(i));
    Files files = whole;
    if (i % 3 == 0) damage.bytes(files);
    if (i % 3 == 1) damage.record(files);
    if (i % 3 == 2) damage.header(files);
    put(snapshot, files);
    try {
      load(snapshot, *other.model, *other.optimizer);
      ++loaded;
      before = other.state();
    } catch (const Error& error) {
      ++refused;
      ASSERT_THAT(error.what(), HasSubstr(snapshot.string()));
      const auto difference = before.first_difference(other.state());
      ASSERT_FALSE(difference) << difference->name << ": " << error.what();
    } catch (const std::exception& error) {
      FAIL() << error.what();
    }
    std::vector<std::string> damaged;
    (void)why_not([&] { (void)newest_snapshot(path(), &damaged); });
    (void)why_not([&] { (void)position_of(snapshot); });
  }
  std::cout << "  seed " << seed << ": " << refused << " refused, " << loaded << " loaded\n";
  EXPECT_GT(refused, kDamages / 2);
  EXPECT_GT(loaded, 10) << "else the checksums were wrong";
}

TEST_F(DamagedFolder, whose_record_is_nested_deeper_than_the_stack_is_refused) {
  const fs::path snapshot = path() / "step-0000000002";
  for (const char* const open : {"[", "{\"a\":"}) {
    std::string deep = R"({"format":1,"optimizer":{"kind":"AdamW","groups":[{"options":)";
    for (int i = 0; i < 1'000'000; ++i) deep += open;
    put(snapshot, {{kRecord, deep}});
    EXPECT_THAT(why_not([&] { (void)position_of(snapshot); }), HasSubstr("no whole record"));
    const bool is_list = *open == '[';
    if (!is_list) deep += '1';
    deep += std::string(1'000'000, is_list ? ']' : '}') + "}]}}";
    put(snapshot, {{kRecord, deep}});
    EXPECT_THAT(why_not([&] { (void)position_of(snapshot); }), HasSubstr("nested deeper than 32"));
  }
}

}  // namespace
}  // namespace neap::train
