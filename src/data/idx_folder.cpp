// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Folders with the IDX files of a set like MNIST, or of one of EMNIST's sets.
#include "data/own_files.h"
#include "data/source.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace neap::data {
namespace {

constexpr std::int64_t kClassesOfMnist = 10;
constexpr std::int64_t kAnyLabel = 256;      // a label is a byte
constexpr std::int64_t kOffsetOfLabels = 8;  // in their file

// What a label stands for: class (label - first), of `classes`.
struct Numbering {
  std::int64_t first;
  std::int64_t classes;
};

// The sets of EMNIST, by the names of their files.
struct Emnist {
  std::string_view name;
  Numbering numbering;
};
constexpr std::array<Emnist, 6> kEmnist{{{"balanced", {0, 47}},
                                         {"byclass", {0, 62}},
                                         {"bymerge", {0, 47}},
                                         {"digits", {0, 10}},
                                         {"letters", {1, 26}},
                                         {"mnist", {0, 10}}}};

// The original name, and a variant that some distributions use.
std::array<std::string, 2> names_of(const std::string& split, const char* what, int rank) {
  const std::string end = "idx" + std::to_string(rank) + "-ubyte";
  return {split + '-' + what + '-' + end, split + '-' + what + '.' + end};
}

bool is_file(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) && !std::filesystem::is_directory(path, error);
}

// The common prefix of the files in this folder: empty, or as "emnist-letters-".
std::string prefix_of(const std::filesystem::path& folder) {
  expect_folder(folder, "the four IDX files of a data set like MNIST");
  std::set<std::string> prefixes;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name.ends_with(".gz")) name.resize(name.size() - 3);
    for (const std::string& known : names_of("train", "images", 3)) {
      if (name.ends_with(known)) prefixes.insert(name.substr(0, name.size() - known.size()));
    }
  }
  if (prefixes.empty() || prefixes.contains("")) return {};
  if (prefixes.size() > 1) {
    std::string found;
    for (const std::string& prefix : prefixes) found += (found.empty() ? "" : ", ") + prefix;
    throw DataError(folder.string() + ": has several sets, " + found +
                    "; put the files of one into a folder of its own");
  }
  return *prefixes.begin();
}

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& prefix,
                                Split split, const char* what, int rank) {
  const std::vector<std::string> splits = split == Split::Train
                                              ? std::vector<std::string>{"train"}
                                              : std::vector<std::string>{"t10k", "test"};
  for (const std::string& one : splits) {
    for (const std::string& name : names_of(prefix + one, what, rank)) {
      for (const char* const suffix : {"", ".gz"}) {
        if (is_file(folder / (name + suffix))) return folder / (name + suffix);
      }
    }
  }
  const std::string name = names_of(prefix + splits.front(), what, rank).front();
  throw DataError(
      folder.string() +
      (split == Split::Test ? ": its test set is missing: it has neither " : ": has neither ") +
      name + " nor " + name + ".gz; put it there, or name another folder");
}

// The two files of a split.
struct Files {
  std::filesystem::path images, labels;
};

Files find_files(const std::filesystem::path& folder, const std::string& prefix, Split split) {
  return {find_file(folder, prefix, split, "images", 3),
          find_file(folder, prefix, split, "labels", 1)};
}

Labeled read_files(const Files& files, std::int64_t classes) {
  Labeled labeled{read_idx_images(files.images), read_idx_labels(files.labels, classes)};
  if (labeled.images.size(0) != labeled.labels.size(0)) {
    throw DataError(files.images.string() + " has " + std::to_string(labeled.images.size(0)) +
                    " images and " + files.labels.string() + " has " +
                    std::to_string(labeled.labels.size(0)) +
                    " labels; they belong to different sets: fetch both again");
  }
  return labeled;
}

// How often each label stands in a split.
using Counts = std::array<std::int64_t, kAnyLabel>;

Counts counts_of(const Labeled& labeled) {
  Counts counts{};
  const auto* const label = labeled.labels.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < labeled.labels.size(0); ++i) {
    ++counts[static_cast<std::size_t>(label[i])];
  }
  return counts;
}

// Found where nobody has said it. A label that is far from the others would make classes without a
// picture: then the file is damaged, or not of this set.
Numbering found_in(const Counts& training, const Counts& test) {
  std::int64_t most = 0;
  for (std::int64_t label = 0; label < kAnyLabel; ++label) {
    const auto at = static_cast<std::size_t>(label);
    if (training[at] + test[at] > 0) most = label;
  }
  if (most < kClassesOfMnist) return {0, kClassesOfMnist};
  const std::int64_t first = training[0] + test[0] > 0 ? 0 : 1;
  for (std::int64_t label = first; label <= most; ++label) {
    if (training[static_cast<std::size_t>(label)] == 0) return {0, kClassesOfMnist};
  }
  return {first, most + 1 - first};
}

// Labels that a folder's user has numbered: from 0, or all from 1.
Numbering given(std::int64_t classes, const Counts& training, const Counts& test) {
  const auto last = static_cast<std::size_t>(classes);
  const bool from_1 =
      classes < kAnyLabel && training[0] + test[0] == 0 && training[last] + test[last] > 0;
  return {from_1 ? 1 : 0, classes};
}

// Makes classes of labels. Throws: DataError for one that is none.
void apply(const Numbering& numbering, Labeled& labeled, const std::filesystem::path& file) {
  auto* const label = labeled.labels.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < labeled.labels.size(0); ++i) {
    const std::int64_t number = label[i] - numbering.first;
    if (number < 0 || number >= numbering.classes) {
      throw DataError(file.string() + ": at offset " + std::to_string(kOffsetOfLabels + i) +
                      ": label " + std::to_string(i) + " is " + std::to_string(label[i]) +
                      "; expected " + std::to_string(numbering.first) + " to " +
                      std::to_string(numbering.first + numbering.classes - 1) +
                      "; fetch the file again, or say how many classes there are, as idx:DIR:47");
    }
    label[i] = number;
  }
}

bool has_test(const std::filesystem::path& folder, const std::string& prefix) {
  for (const char* const split : {"t10k", "test"}) {
    for (const auto& [what, rank] : {std::pair("images", 3), std::pair("labels", 1)}) {
      for (const std::string& name : names_of(prefix + split, what, rank)) {
        if (is_file(folder / name) || is_file(folder / (name + ".gz"))) return true;
      }
    }
  }
  return false;
}

}  // namespace

Labeled read_labeled(const std::filesystem::path& folder, Split split, std::int64_t classes) {
  return read_files(find_files(folder, prefix_of(folder), split), classes);
}

Splits idx_folder(const std::filesystem::path& folder, std::optional<std::int64_t> classes,
                  const OpenOptions& options) {
  const TestShare share(options.test_percent);
  const std::string prefix = prefix_of(folder);
  const Files files = find_files(folder, prefix, Split::Train);
  Labeled training = read_files(files, kAnyLabel);
  const Counts counts = counts_of(training);
  std::optional<Files> test_files;
  std::optional<Labeled> test;
  if (has_test(folder, prefix)) {
    test_files = find_files(folder, prefix, Split::Test);
    share.expect_not_named(test_files->images.string());
    test = read_files(*test_files, kAnyLabel);
  }
  const Counts test_counts = test ? counts_of(*test) : Counts{};
  const auto* const known = std::ranges::find_if(
      kEmnist, [&](const Emnist& set) { return prefix.find(set.name) != std::string::npos; });
  const Numbering numbering = classes                  ? given(*classes, counts, test_counts)
                              : known != kEmnist.end() ? known->numbering
                                                       : found_in(counts, test_counts);
  apply(numbering, training, files.labels);
  if (test) apply(numbering, *test, test_files->labels);
  const bool split = !test;
  Splits splits =
      labeled_pictures(std::move(training), std::move(test), numbering.classes, folder, options);
  if (split) {
    splits.notes.push_back(folder.string() + " has no t10k or test files: " + share.text() +
                           " of each class of its training samples are the test set");
  }
  if (!classes && known == kEmnist.end() && numbering.classes != kClassesOfMnist) {
    splits.notes.push_back(folder.string() + " has " + std::to_string(numbering.classes) +
                           " classes, with labels from " + std::to_string(numbering.first) + " on");
  }
  return splits;
}

}  // namespace neap::data
