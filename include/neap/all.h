// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/all.h: everything in one include, with the models, the data, the trainer and the
// measurements, whose headers include parts of torch/nn and torch/optim. A program that only trains
// inside a budget includes neap/neap.h, which is lighter.
//
//   #include <neap/all.h>
//   #include <torch/torch.h>
#pragma once

#include <neap/analysis.h>
#include <neap/data.h>
#include <neap/explain.h>
#include <neap/models.h>
#include <neap/neap.h>
#include <neap/nn.h>
#include <neap/plugin.h>
#include <neap/report.h>
#include <neap/snapshot.h>
#include <neap/summary.h>
#include <neap/terminal.h>
#include <neap/train.h>
