// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/copy_queues.h"

#include "offload/disk_speed.h"

#include <neap/base.h>
#include <neap/machine.h>

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

namespace neap::offload {
namespace {

using Clock = std::chrono::steady_clock;

bool means_full(int error) noexcept { return error == ENOSPC || error == EDQUOT; }

// Calls `step` and returns what it threw, as a value of errno; 0: nothing.
template <class Step>
int error_of(Step step) noexcept {
  try {
    step();
    return 0;
  } catch (const std::system_error& error) {
    return error.code().value() != 0 ? error.code().value() : EIO;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  } catch (...) {
    return EIO;
  }
}

template <class Step>
void for_each_piece(std::int64_t bytes, Step step) {
  const auto all = static_cast<std::size_t>(bytes);
  for (std::size_t done = 0; done < all; done += kPieceBytes) {
    step(done, std::min(kPieceBytes, all - done));
  }
}

}  // namespace

Copies::State::State(std::unique_ptr<Tier> its_tier, std::int64_t limit)
    : tier(std::move(its_tier)),
      extents(*tier, limit),
      out_mean(tier->measured().out),
      in_mean(tier->measured().in) {
  constexpr std::size_t kLongText = 256;
  why_lost.reserve(kLongText);
}

Copies::State::~State() {
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  to_write_changed.notify_all();
  to_read_changed.notify_all();
  if (writer.joinable()) writer.join();
  if (reader.joinable()) reader.join();
}

// A thread that cannot be started is tried again by the next copy. Until then who waits for a copy
// makes it.
void Copies::State::start(std::thread& thread, const char* name, std::list<Copy>& queue,
                          std::condition_variable& changed) noexcept {
  if (thread.joinable()) return;
  // A thread begins with the signals of the one that starts it. The program's handlers do not
  // expect this one.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread = std::thread([this, name, &queue, &changed] { work(name, queue, changed); });
  } catch (const std::exception&) {
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Copies::State::work(const char* name, std::list<Copy>& queue,
                         std::condition_variable& changed) noexcept {
  ::pthread_setname_np(::pthread_self(), name);
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return stop || !queue.empty(); });
    if (stop) return;
    perform(queue.front(), lock);
  }
}

void Copies::State::perform(Copy& copy, std::unique_lock<std::mutex>& lock) noexcept {
  const bool writes = copy.status == Copy::Status::ToWrite;
  others.splice(others.end(), writes ? to_write : to_read, copy.place);
  copy.status = writes ? Copy::Status::Writing : Copy::Status::Reading;
  lock.unlock();
  device::ContentHash found;
  const Clock::time_point begin = Clock::now();
  const int error = writes ? write(copy) : read(copy, found);
  const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  lock.lock();
  if (writes) {
    note_written(copy, error, ns);
  } else if (error != 0 || found != copy.hash) {
    copy.status = Copy::Status::Failed;
    copy.failure = error != 0 ? Copy::Failure::Read : Copy::Failure::Differs;
    copy.error = error;
  } else {
    copy.status = Copy::Status::Written;
    in_mean.add(ns, copy.bytes);
  }
  done.notify_all();
}

void Copies::State::note_written(Copy& copy, int error, double ns) noexcept {
  if (error == 0) {
    copy.status = Copy::Status::Written;
    failures = 0;
    out_mean.add(ns, copy.bytes);
    return;
  }
  copy.status = Copy::Status::Failed;
  copy.failure = Copy::Failure::Write;
  copy.error = error;
  last_error = error;
  // All that wait when a disk becomes full fail for one reason.
  if (!is_full) ++failures;
  is_full = is_full || means_full(error);
}

int Copies::State::write(Copy& copy) noexcept {
  const auto* const from = static_cast<const char*>(copy.from);
  const std::int64_t offset = copy.room->offset;
  if (!device.is_host_memory()) {
    return error_of([&] {
      copy.hash = device.hash_of(from, static_cast<std::size_t>(copy.bytes));
      tier->write(offset, from, static_cast<std::size_t>(copy.bytes));
    });
  }
  return error_of([&] {
    device::RunningContentHash hash;
    for_each_piece(copy.bytes, [&](std::size_t at, std::size_t bytes) {
      hash.update(from + at, bytes);
      tier->write(offset + static_cast<std::int64_t>(at), from + at, bytes);
    });
    copy.hash = hash.value();
  });
}

int Copies::State::read(const Copy& copy, device::ContentHash& found) noexcept {
  auto* const to = static_cast<char*>(copy.to);
  const std::int64_t offset = copy.room->offset;
  if (!device.is_host_memory()) {
    return error_of([&] {
      tier->read(offset, to, static_cast<std::size_t>(copy.bytes));
      found = device.hash_of(to, static_cast<std::size_t>(copy.bytes));
    });
  }
  return error_of([&] {
    device::RunningContentHash hash;
    for_each_piece(copy.bytes, [&](std::size_t at, std::size_t bytes) {
      tier->read(offset + static_cast<std::int64_t>(at), to + at, bytes);
      hash.update(to + at, bytes);
    });
    found = hash.value();
  });
}

void Copies::State::finish(Copy& copy, std::unique_lock<std::mutex>& lock) noexcept {
  if (copy.status == Copy::Status::ToWrite || copy.status == Copy::Status::ToRead) {
    perform(copy, lock);
  }
  done.wait(lock, [&] {
    return copy.status == Copy::Status::Written || copy.status == Copy::Status::Failed;
  });
}

void Copies::State::explain_loss(const Copy& copy) noexcept {
  try {
    std::string text = tier->name() + ": a copy of " + Bytes(copy.bytes).text();
    const std::string advice = "; check the disk, or name a directory elsewhere";
    switch (copy.failure) {
      case Copy::Failure::Write:
        text += " could not be written: " + machine::why_not_written(copy.error);
        break;
      case Copy::Failure::Differs:
        text += " is not what was written there, its hash differs" + advice;
        break;
      default:
        text += " cannot be read back: " + std::generic_category().message(copy.error) + advice;
    }
    why_lost.assign(text);  // keeps the room that is reserved
  } catch (const std::exception&) {
    why_lost.assign("a copy is lost, and there is no memory to say why");
  }
}

}  // namespace neap::offload
