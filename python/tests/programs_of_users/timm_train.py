# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains a ResNet of timm with its optimizer, schedule, averaged weights and loss."""

import timm
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch

torch.manual_seed(0)
model = timm.create_model("resnet26d", num_classes=10, drop_rate=0.1)
average = timm.utils.ModelEmaV3(model, decay=0.9)
optimizer = timm.optim.create_optimizer_v2(model, opt="lamb", lr=1e-3)
schedule = timm.scheduler.CosineLRScheduler(optimizer, t_initial=5)
loss_of = timm.loss.LabelSmoothingCrossEntropy(0.1)
for step in range(5):
    x, y = torch.randn(8, 3, 64, 64), torch.randint(0, 10, (8,))
    loss = loss_of(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    average.update(model)
    schedule.step(step + 1)
    print(step, repr(loss.item()), repr(float(average.module.fc.weight.sum().detach())))
