// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// MemoryEfficientTrainer: groups of micro-batches inside a budget. The data ends with a shorter
// group, which gets the right weight.
#include <neap/neap.h>
#include <neap/train.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>
#include <vector>

int main() {
  neap::install();  // once, before the first tensor
  at::set_num_threads(1);
  torch::manual_seed(1);

  // Points in 64 dimensions, and the side of a plane on which each lies. They make 13 micro-batches
  // of 128, and one of 40.
  constexpr std::int64_t kRows = 13 * 128 + 40;
  const auto points = torch::randn({kRows, 64}), plane = torch::randn({64});
  const auto sides = points.mv(plane).gt(0).to(torch::kLong);
  std::vector<neap::train::MicroBatch> loader;
  for (std::int64_t row = 0; row < kRows; row += 128) {
    const std::int64_t rows = std::min<std::int64_t>(128, kRows - row);
    loader.push_back({points.narrow(0, row, rows), sides.narrow(0, row, rows)});
  }

  torch::nn::Sequential model;
  for (int layer = 0; layer < 12; ++layer) {
    model->push_back(torch::nn::Linear(layer == 0 ? 64 : 96, 96));
    model->push_back(torch::nn::GELU());
  }
  model->push_back(torch::nn::Linear(96, 2));
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(2e-3));
  torch::optim::StepLR halved(optimizer, /*step_size=*/8, /*gamma=*/0.5);

  const auto budget = neap::Bytes::parse("2600KiB");  // plain LibTorch needs about 3000
  neap::MemoryEfficientTrainer trainer(
      model, optimizer, /*batch_size=*/128, /*accumulation_steps=*/4,
      {.budget = budget, .clip = neap::train::ClipNorm{1.0}, .schedule = &halved});
  const auto before = trainer.evaluate(loader);
  const auto epochs = trainer.fit(loader, /*epochs=*/3, [&](const neap::train::Progress& progress) {
    if (progress.done == 4) {
      std::cout << "step 4 of " << *progress.steps << ": " << progress.last.micro_batches
                << " micro-batches, " << progress.last.samples << " rows\n";
    }
  });
  const auto after = trainer.evaluate(loader);

  for (const auto& epoch : epochs) {
    std::cout << epoch.steps << " steps, " << epoch.micro_batches << " micro-batches, "
              << epoch.samples << " rows; inside " << budget.text() << ": "
              << (epoch.peak <= budget ? "yes" : "no")
              << "; operators replayed: " << (epoch.stats.replays > 0 ? "yes" : "no") << '\n';
  }
  std::cout << "the loss fell: " << (after.loss < before.loss ? "yes" : "no") << '\n';
}
