// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"
#include "command_options.h"
#include "config_file.h"
#include "data/files.h"
#include "formats/csv.h"
#include "formats/encoding.h"
#include "formats/npy.h"
#include "formats/picture.h"
#include "no_memory/scenarios.h"
#include "page/run_sections.h"
#include "run_database.h"
#include "safetensors/safetensors.h"

#include <neap/data.h>
#include <neap/graph.h>

#include <torch/torch.h>

#include <fstream>
#include <iterator>
#include <span>

namespace neap::no_memory {
namespace {

namespace fs = std::filesystem;

const fs::path kCorpus = fs::path(NEAP_SOURCE_DIR) / "tests/fuzz/corpus";

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string hash_of(const void* data, std::size_t bytes) {
  return std::to_string(stable_hash(data, bytes));
}
template <class Item>
std::string hash_of(const std::vector<Item>& items) {
  return hash_of(items.data(), items.size() * sizeof(Item));
}

void put(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

// Of a file that is there, and stays as it is.
Scenario reader(std::string name, const fs::path& file,
                std::function<std::string(const fs::path&)> read) {
  return {.name = std::move(name),
          .prepare = [](const fs::path&) {},
          .act = [file, read](const fs::path&) { return read(file); },
          .found = [](const fs::path&) { return std::string(); },
          .gives_all_back = true};
}

// Of bytes in memory.
Scenario parser(std::string name, const std::string& file,
                const std::function<std::string(std::span<const unsigned char>)>& parse) {
  const std::string bytes = content_of(kCorpus / "formats" / file);
  Scenario one = reader(std::move(name), {}, [](const fs::path&) { return std::string(); });
  one.act = [bytes, parse](const fs::path&) {
    return parse({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()});
  };
  return one;
}

std::string read_tensors(const fs::path& path) {
  const safetensors::File file(path);
  std::string text;
  for (const safetensors::File::Entry& entry : file.entries()) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(entry.bytes));
    file.read(entry, bytes);
    text += entry.name + hash_of(bytes);
  }
  return text + std::to_string(file.hash());
}

std::string read_config(const fs::path& path) {
  app::TrainingOptions options;
  CLI::App command("trains", "train");
  app::add_train_options(command, options);
  app::read_config(command, path.string(), {});
  return options.model + options.budget + std::to_string(options.steps) +
         std::to_string(options.batch_size) + std::to_string(options.betas.size()) + options.data;
}

std::string read_runs(const fs::path& path) {
  std::vector<app::TrainingRun> runs{app::read_run(path), app::read_run(path)};
  app::name_runs(runs);
  std::vector<app::RunColumns> all;
  for (const app::TrainingRun& run : runs) all.push_back(app::columns_of(run));
  const std::vector<std::size_t> chosen = app::RunDatabase(all).select("steps > 1", "loss desc");
  return std::to_string(runs[0].steps.size()) + ' ' + std::to_string(chosen.size()) + ' ' +
         std::to_string(all[0].size());
}

std::string first_sample(const std::string& spec) {
  const data::Splits splits = data::open(spec);
  const at::Tensor sample = splits.training->get(0)[0].contiguous();
  return std::to_string(splits.training->size()) + ' ' +
         hash_of(sample.const_data_ptr(), sample.nbytes());
}

// Its files are made once, since nobody writes into them.
fs::path data_folder() {
  static const fs::path folder = [] {
    fs::path made = fs::temp_directory_path() / ("neap_no_memory_data_" + std::to_string(getpid()));
    const std::string images = data::items(40 * 9, 256), labels = data::items(40, 10);
    for (const std::string part : {"train", "t10k"}) {
      put(made / (part + "-images-idx3-ubyte"), data::header({40, 3, 3}) + images);
      put(made / (part + "-labels-idx1-ubyte"), data::header({40}) + labels);
    }
    std::string table = "a,b,label\n";
    for (int i = 0; i < 40; ++i) {
      table +=
          std::to_string(i) + ".5," + std::to_string(i * i) + ',' + std::to_string(i % 3) + '\n';
    }
    put(made / "table.csv", table);
    put(made / "text", data::items(1000, 256));
    return made;
  }();
  return folder;
}

Scenario data_set(const std::string& spec) {
  Scenario one = reader("the data " + spec, {}, [](const fs::path&) { return std::string(); });
  one.act = [spec](const fs::path&) {
    const std::size_t at = spec.find(':') + 1;
    return first_sample(spec.substr(0, at) + (data_folder() / spec.substr(at)).string());
  };
  one.gives_all_back = false;
  return one;
}

constexpr const char* kConfig = R"(# a training
model = "mlp"
budget = "30%"
steps = 20
batch-size = 32
betas = [0.9, 0.99]
data = "synthetic:1x8x8:10:64"
)";

constexpr const char* kRun =
    R"({"event":"run","began":"2026-01-31T12:00:00Z","settings":{"model":"mlp","seed":"1"},"budget":"30%"}
{"event":"step","step":1,"loss":2.5,"peak_bytes":1024,"replays":3,"planned":false,"took_ms":1.5}
{"event":"evaluation","step":1,"test_loss":2.25,"accuracy":0.5}
{"event":"step","step":2,"loss":2.25,"peak_bytes":1024,"replays":3,"planned":true,"took_ms":1.5}
{"event":"summary","ending":"done","steps":2,"loss":2.375,"accuracy":0.5,"best_step":1}
)";

}  // namespace

std::string files_below(const fs::path& folder) {
  std::vector<std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;  // a folder that was made for a file may stay
    const std::string bytes = content_of(entry.path());
    all.push_back(entry.path().lexically_relative(folder).string() + ' ' +
                  hash_of(bytes.data(), bytes.size()));
  }
  std::ranges::sort(all);
  std::string text;
  for (const std::string& one : all) text += one + '\n';
  return text;
}

std::vector<Scenario> readers() {
  std::vector<Scenario> all;
  all.push_back(reader("a trace", kCorpus / "trace/example.jsonl", [](const fs::path& path) {
    const graph::Trace trace = graph::read_trace(path);
    return trace.label + std::to_string(trace.events.size()) + ' ' +
           std::to_string(trace.keep.size());
  }));
  all.push_back(reader("a plan", kCorpus / "plan/example.jsonl", [](const fs::path& path) {
    const graph::Plan plan = graph::read_plan(path);
    return std::to_string(plan.steps.size()) + ' ' + std::to_string(plan.budget);
  }));
  all.push_back(
      reader("a file of tensors", kCorpus / "safetensors/plain.safetensors", read_tensors));
  all.push_back(parser("a table", "table.csv", [](std::span<const unsigned char> file) {
    const formats::Csv csv =
        formats::parse_csv({reinterpret_cast<const char*>(file.data()), file.size()});
    return std::to_string(csv.labels.size()) + ' ' + hash_of(csv.values);
  }));
  all.push_back(parser("an array", "small.npy", [](std::span<const unsigned char> file) {
    const formats::Npy npy = formats::parse_npy(file);
    return hash_of(npy.shape) + hash_of(npy.items.data(), npy.items.size());
  }));
  for (const char* const name : {"small.png", "small.jpg"}) {
    all.push_back(parser(name, name, [](std::span<const unsigned char> file) {
      const formats::Picture picture = formats::decode_picture(file);
      return hash_of(formats::shaped(picture, 3, 5, 4).pixels);
    }));
  }
  all.push_back(parser("a text", "utf16.txt", [](std::span<const unsigned char> file) {
    return hash_of(formats::utf8_of({file.begin(), file.end()}, ""));
  }));
  put(data_folder() / "train.toml", kConfig);
  all.push_back(reader("a config file", data_folder() / "train.toml", read_config));
  put(data_folder() / "run/run.jsonl", kRun);
  all.push_back(reader("the lines of trainings", data_folder() / "run/run.jsonl", read_runs));
  for (const char* const spec : {"idx:", "csv:table.csv", "text:text"}) {
    all.push_back(data_set(spec));
  }
  return all;
}

}  // namespace neap::no_memory
