// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What stays in the folder of a run, and what is refused.
#include "base/stable_hash.h"
#include "snapshot/saved_training.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace neap::train {
namespace {

TEST(Snapshot, the_newest_stay_and_notes_come_back) {
  const Folder folder;
  Training run;
  for (std::int64_t step = 8; step < 13; ++step) {
    save(folder.path(), *run.model, *run.optimizer,
         {.step = step, .notes = {{"best", std::to_string(step)}}}, {.keep = 2});
  }
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("step-0000000011", "step-0000000012"));
  const auto newest = newest_snapshot(folder.path());
  ASSERT_TRUE(newest);
  EXPECT_EQ(position_of(*newest).step, 12);
  EXPECT_EQ(position_of(*newest).notes.at("best"), "12");
  EXPECT_EQ(fs::status(*newest).permissions(), fs::perms::owner_all);
}

TEST(Snapshot, one_of_the_same_step_is_replaced_and_left_overs_go) {
  const Folder folder;
  fs::create_directory(folder.path() / ".step-0000000003.new");
  fs::create_directory(folder.path() / ".step-0000000003.old");
  fs::create_directory(folder.path() / ".step-0000000002.new");
  fs::create_directory(folder.path() / ".step-0000000001.gone");
  fs::create_directory(folder.path() / ".step-of-someone-else");
  fs::create_directory(folder.path() / "step-12");
  Training run;
  const fs::path first = save(folder.path(), *run.model, *run.optimizer, {.step = 3});
  run.train(0, 1);
  const fs::path second = save(folder.path(), *run.model, *run.optimizer, {.step = 3});
  EXPECT_EQ(first, second);
  Training other(adamw, 9);
  load(second, *other.model, *other.optimizer);
  EXPECT_TRUE(at::equal(other.model->parameters()[0], run.model->parameters()[0]));
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("step-0000000003", ".step-of-someone-else", "step-12"));
}

// Changes one byte of a file.
void damage(const fs::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(at);
  file.put(byte);
}

TEST(Snapshot, a_damaged_newest_falls_back_to_the_one_before_and_changes_nothing) {
  for (const char* const name : {"model.safetensors", "state.safetensors"}) {
    const Folder folder;
    Training run;
    const fs::path older = save(folder.path(), *run.model, *run.optimizer, {.step = 1});
    const fs::path newer = save(folder.path(), *run.model, *run.optimizer, {.step = 2});
    const auto size = static_cast<std::streamoff>(fs::file_size(newer / name));
    for (const std::streamoff at : {std::streamoff{0}, size / 2, size - 1}) {
      damage(newer / name, at);
      std::vector<std::string> damaged;
      EXPECT_EQ(newest_snapshot(folder.path(), &damaged), older);
      ASSERT_EQ(damaged.size(), 1);
      EXPECT_THAT(damaged[0], HasSubstr(name));
      Training other(adamw, 4);
      const State before = other.state();
      EXPECT_FALSE(why_not([&] { load(newer, *other.model, *other.optimizer); }).empty());
      expect_equal(before, other.state(), name);
      damage(newer / name, at);
    }
    EXPECT_EQ(newest_snapshot(folder.path()), newer);
  }
}

TEST(Snapshot, a_record_that_is_cut_or_changed_is_refused) {
  const Folder folder;
  Training run;
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 1});
  const fs::path record = saved / "snapshot.json";
  std::stringstream whole;
  whole << std::ifstream(record).rdbuf();
  const std::string text = whole.str();
  Training other(adamw, 4);
  const auto load_it = [&] { load(saved, *other.model, *other.optimizer); };
  for (std::size_t length = 0; length + 2 < text.size(); length += 37) {
    std::ofstream(record, std::ios::trunc) << text.substr(0, length);
    EXPECT_THAT(why_not(load_it), HasSubstr("is no whole record")) << length;
  }
  const auto with = [&](const std::string& from, const std::string& to, bool right_sum = true) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    const std::string sum = ",\n \"xxh3\": \"";
    const std::size_t at = changed.rfind(sum);
    std::ostringstream whole;
    whole << changed.substr(0, at) << sum << std::hex << stable_hash(changed.data(), at)
          << "\"\n}\n";
    std::ofstream(record, std::ios::trunc) << (right_sum ? whole.str() : changed);
    return why_not(load_it);
  };
  EXPECT_EQ(with("\"lr\"", "\"lr\""), "");
  EXPECT_THAT(with("\"format\": 1", "\"format\": 2"), HasSubstr("take the neap that wrote it"));
  EXPECT_THAT(with("\"threads\": ", "\"threads\": 9"), HasSubstr("threads"));
  EXPECT_THAT(with("\"torch\": \"", "\"torch\": \"9"), HasSubstr("LibTorch 9"));
  EXPECT_THAT(other_bits(saved), testing::ElementsAre(HasSubstr("LibTorch 9")));
  EXPECT_THAT(
      why_not([&] { load(saved, *other.model, *other.optimizer, {.other_kernels = true}); }),
      HasSubstr("LoadOptions::other_torch"));
  load(saved, *other.model, *other.optimizer, {.other_torch = true});
  EXPECT_THAT(with("\"kernels\": \"", "\"kernels\": \"Z80, "), HasSubstr("kernels for Z80"));
  EXPECT_THAT(other_bits(saved), testing::ElementsAre(HasSubstr("kernels for Z80")));
  EXPECT_THAT(why_not([&] { load(saved, *other.model, *other.optimizer, {.other_torch = true}); }),
              HasSubstr("LoadOptions::other_kernels"));
  load(saved, *other.model, *other.optimizer, {.other_kernels = true});
  EXPECT_THAT(with("\"kind\": \"AdamW\"", "\"kind\": \"Adam\""), HasSubstr("is of Adam"));
  EXPECT_THAT(with("\"lr\"", "\"rate\""), HasSubstr("the optimizer's options"));
  EXPECT_THAT(with("\"step\": 1", "\"step\": \"x\""), HasSubstr("is no whole record"));
  EXPECT_THAT(with("\"step\": 1", "\"step\": -1"), HasSubstr("is no count"));
  EXPECT_THAT(with("\"step\": 1", "\"step\": 1e300"), HasSubstr("is no count"));
  EXPECT_THAT(with("\"step\": 1", "\"step\": 2"), HasSubstr("it is of step 2"));
  EXPECT_THAT(with("\"lr\": 0.01", "\"lr\": 0.02", /*right_sum=*/false),
              HasSubstr("it was changed"));
  fs::remove(record);
  EXPECT_THAT(why_not(load_it), HasSubstr("cannot be opened"));
  EXPECT_FALSE(newest_snapshot(folder.path()));
}

TEST(Snapshot, one_of_a_later_step_is_never_lost) {
  const Folder folder;
  Training run;
  const fs::path later = save(folder.path(), *run.model, *run.optimizer, {.step = 9});
  EXPECT_THROW(save(folder.path(), *run.model, *run.optimizer, {.step = 3}, {.keep = 1}),
               InvalidArgument);
  EXPECT_EQ(newest_snapshot(folder.path()), later);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
  damage(later / "model.safetensors", 0);
  const fs::path now = save(folder.path(), *run.model, *run.optimizer, {.step = 3}, {.keep = 1});
  EXPECT_EQ(newest_snapshot(folder.path()), now);
  EXPECT_TRUE(fs::exists(folder.path() / "step-0000000009.damaged"));
}

// The program was killed while it removed an old one.
TEST(Snapshot, one_that_was_removed_in_part_does_not_come_back) {
  const Folder folder;
  Training run;
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 1});
  fs::rename(saved, folder.path() / ".step-0000000001.gone");
  fs::remove(folder.path() / ".step-0000000001.gone" / "model.safetensors");
  save(folder.path(), *run.model, *run.optimizer, {.step = 2});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

// The program was killed between the two renames, and no other one has saved since.
TEST(Snapshot, one_that_was_to_be_replaced_is_found) {
  const Folder folder;
  Training run;
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 2});
  const fs::path old = folder.path() / ".step-0000000002.old";
  fs::rename(saved, old);
  EXPECT_EQ(newest_snapshot(folder.path()), old);
  EXPECT_EQ(load(old, *run.model, *run.optimizer).step, 2);
}

// The program was killed between the two renames.
TEST(Snapshot, one_that_was_to_be_replaced_comes_back) {
  const Folder folder;
  Training run;
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 2});
  fs::rename(saved, folder.path() / ".step-0000000002.old");
  save(folder.path(), *run.model, *run.optimizer, {.step = 3});
  EXPECT_TRUE(fs::exists(saved / "snapshot.json"));
  EXPECT_FALSE(fs::exists(folder.path() / ".step-0000000002.old"));
}

TEST(Snapshot, another_program_that_saves_into_the_folder_is_refused) {
  const Folder folder;
  Training run;
  const int lock = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  EXPECT_THAT(why_not([&] { save(folder.path(), *run.model, *run.optimizer, {.step = 1}); }),
              HasSubstr("another program saves"));
  ::close(lock);
  save(folder.path(), *run.model, *run.optimizer, {.step = 1});
}

TEST(Snapshot, a_note_that_is_no_text_is_refused_and_leaves_nothing) {
  const Folder folder;
  Training run;
  EXPECT_THROW(
      save(folder.path(), *run.model, *run.optimizer, {.step = 1, .notes = {{"a", "\xff"}}}),
      InvalidArgument);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Snapshot, state_comes_back_with_the_strides_of_its_parameter) {
  const Folder folder;
  const auto make = [] {
    torch::nn::Conv2d layer(torch::nn::Conv2dOptions(3, 8, 3));
    layer->to(torch::kDouble);
    layer->weight.set_data(layer->weight.contiguous(at::MemoryFormat::ChannelsLast));
    return layer;
  };
  auto a = make(), b = make();
  torch::optim::Adam of_a(a->parameters()), of_b(b->parameters());
  a->forward(torch::randn({2, 3, 8, 8}, torch::kDouble)).sum().backward();
  of_a.step();
  load(save(folder.path(), *a, of_a, {}, {.gradients = true}), *b, of_b);
  const auto average = [](torch::optim::Adam& optimizer, const at::Tensor& parameter) {
    return static_cast<torch::optim::AdamParamState&>(
               *optimizer.state().at(parameter.unsafeGetTensorImpl()))
        .exp_avg();
  };
  EXPECT_TRUE(at::equal(a->weight, b->weight));
  EXPECT_EQ(average(of_a, a->weight).strides(), average(of_b, b->weight).strides());
  EXPECT_EQ(b->weight.grad().strides(), b->weight.strides());
  EXPECT_TRUE(at::equal(a->weight.grad(), b->weight.grad()));
}

TEST(Snapshot, another_number_of_threads_is_taken_when_it_is_allowed) {
  const Folder folder;
  Training run;
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 1});
  const int threads = at::get_num_threads();
  at::set_num_threads(threads + 1);
  Training other(adamw, 4);
  EXPECT_THAT(why_not([&] { load(saved, *other.model, *other.optimizer); }), HasSubstr("threads"));
  EXPECT_THAT(why_not([&] { load(saved, *other.model, *other.optimizer); }),
              HasSubstr("LoadOptions::other_threads, or --allow-other-threads of the command"));
  const std::string now = std::to_string(threads + 1) + " threads now";
  EXPECT_THAT(other_bits(saved), testing::ElementsAre(HasSubstr(now)));
  load(saved, *other.model, *other.optimizer, {.other_threads = true});
  at::set_num_threads(threads);
  EXPECT_THAT(other_bits(saved), testing::IsEmpty());
}

TEST(Snapshot, another_model_or_optimizer_is_refused_and_stays_as_it_was) {
  const Folder folder;
  Training run;
  run.train(0, 1);
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 1});
  const auto refused = [&](torch::nn::Sequential model, const MakeOptimizer& make) {
    const auto optimizer = make(*model);
    const State before = State::of(*model, *optimizer, 0);
    const std::string why = why_not([&] { load(saved, *model, *optimizer); });
    expect_equal(before, State::of(*model, *optimizer, 0), why);
    return why;
  };
  torch::nn::Sequential wider(torch::nn::Linear(kWidth, kWidth + 1));
  EXPECT_THAT(refused(wider, adamw), HasSubstr("0.weight: it is F32 [24, 24] in the file"));
  torch::nn::Sequential more = make_model();
  more->push_back(torch::nn::Linear(4, 4));
  EXPECT_THAT(refused(more, adamw), HasSubstr(" does not fit: 2 differences\n  it has no 5.weight\n"
                                              "  it has no 5.bias; make model and"));
  torch::nn::Sequential fewer(torch::nn::Linear(kWidth, kWidth));
  EXPECT_THAT(refused(fewer, adamw), HasSubstr("which the model does not have"));
  EXPECT_THAT(refused(make_model(), optimizers()[0].make), HasSubstr("the optimizer is SGD"));
  EXPECT_THAT(refused(make_model(), optimizers()[5].make), HasSubstr("other parameters"));
}

TEST(Snapshot, wrong_use_is_refused) {
  const Folder folder;
  Training run;
  EXPECT_THROW(save(folder.path(), *run.model, *run.optimizer, {.step = -1}), InvalidArgument);
  EXPECT_THROW(save(folder.path(), *run.model, *run.optimizer, {}, {.keep = -1}), InvalidArgument);
  EXPECT_THROW(save("/proc/neap", *run.model, *run.optimizer, {}), Error);
  torch::optim::LBFGS lbfgs(run.model->parameters());
  EXPECT_THROW(save(folder.path(), *run.model, lbfgs, {}), InvalidArgument);
  at::Tensor stranger = torch::rand({2}).requires_grad_();
  torch::optim::SGD other({stranger}, 0.1);
  EXPECT_THROW(save(folder.path(), *run.model, other, {}), InvalidArgument);
  EXPECT_TRUE(fs::is_empty(folder.path()));
  EXPECT_FALSE(newest_snapshot(folder.path() / "none"));
}

TEST(Snapshot, weights_are_exported_and_imported_by_their_names) {
  const Folder folder;
  Training run;
  run.train(0, 2);
  run.model->to(torch::kDouble);
  export_weights(*run.model, folder.path() / "weights.safetensors");
  Training other(adamw, 8);
  other.model->to(torch::kDouble);
  import_weights(*other.model, folder.path() / "weights.safetensors");
  const auto a = run.model->named_parameters(), b = other.model->named_parameters();
  for (const auto& item : a) EXPECT_TRUE(at::equal(item.value(), b[item.key()]));
  EXPECT_TRUE(at::equal(run.model->buffers()[0], other.model->buffers()[0]));
  other.model->to(torch::kFloat);
  EXPECT_THAT(why_not([&] { import_weights(*other.model, folder.path() / "weights.safetensors"); }),
              HasSubstr("F64"));
}

}  // namespace
}  // namespace neap::train
