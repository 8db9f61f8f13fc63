// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/copies.h: copies of storages in a tier, and the two threads that make them and bring them
// back. It knows no storages: the engine says which bytes, and when it needs them.
//
// A copy goes through these states:
//
//   begin() -> Writing -> Written -> load() -> Reading -> Written ...
//                 |                               |
//               Failed                          Failed
//
// One thread writes, one reads, each in the order of the calls. What a caller waits for and no
// thread has begun yet, the caller does itself. A content's hash (XXH3, 128 bits) is taken when it
// goes and compared when it is back.
//
// Threads: all functions are called by one thread at a time, that of the engine.
#pragma once

#include "offload/tier.h"

#include <cstdint>
#include <memory>
#include <string>

namespace neap::offload {

struct Copy;  // one content in the tier

class Copies {
 public:
  // `limit`: the most bytes of the tier that are in use at one time.
  Copies(std::unique_ptr<Tier> tier, std::int64_t limit);
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;
  ~Copies();  // waits for what is under way; the copies are gone

  // Takes room for the bytes and begins to copy them out. Until wait() has returned, or drop(), the
  // memory must stay where it is and as it is. Null: there is no room, or writing has failed too
  // often to be tried again; why_not() says why.
  [[nodiscard]] Copy* begin(const void* from, std::int64_t bytes);
  // Whether there would be room.
  [[nodiscard]] bool has_room(std::int64_t bytes) const noexcept;
  // Waits until the content is in the tier. False: it could not be written, and the copy is of no
  // use; the caller drops it.
  [[nodiscard]] bool wait_written(Copy& copy) noexcept;
  // Whether wait_written() would return at once.
  [[nodiscard]] bool is_written(const Copy& copy) const noexcept;
  // Begins to bring the content back to `to`. REQUIRES: no load of it is under way.
  void load(Copy& copy, void* to);
  // Waits until it is there. False: it could not be read, or is not what went; why_lost() says why.
  // What is at `to` is then unknown, and the copy is of no use.
  [[nodiscard]] bool wait_loaded(Copy& copy) noexcept;
  // Whether the bytes are those that the copy has. REQUIRES: wait_written() was true.
  [[nodiscard]] bool is_same(const Copy& copy, const void* data) const;
  // Frees the copy's room. Waits for what has begun; what has not begun is never done.
  void drop(Copy& copy) noexcept;

  [[nodiscard]] std::int64_t in_use() const noexcept;  // bytes of the tier
  [[nodiscard]] std::int64_t peak() const noexcept;    // since reset_peak()
  void reset_peak() noexcept;
  [[nodiscard]] std::int64_t limit() const noexcept;
  // Why begin() gave none, or has_room() is false: "/tmp/offload is full: 1.0 GiB of 1.0 GiB are in
  // use", or the errno of the last write.
  [[nodiscard]] std::string why_not() const;
  // Why the last wait_loaded() was false, with the tier's name, the size and the errno.
  [[nodiscard]] const std::string& why_lost() const noexcept;

  // Measured, ns a byte: of the last copies, or of the tier's measurement when it was opened.
  [[nodiscard]] double out_ns_per_byte() const noexcept;
  [[nodiscard]] double in_ns_per_byte() const noexcept;

  // In a child of fork(), instead of the destructor: the threads and the file are the parent's.
  void abandon_in_child() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace neap::offload
