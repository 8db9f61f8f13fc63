// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/neap.h: what a training program needs. The models and the trainer have headers of their own;
// neap/all.h includes everything.
#pragma once

#include <neap/adaptive.h>
#include <neap/base.h>
#include <neap/call.h>
#include <neap/checkpoint.h>
#include <neap/engine.h>
#include <neap/intercept.h>
#include <neap/memory.h>
#include <neap/planner.h>
