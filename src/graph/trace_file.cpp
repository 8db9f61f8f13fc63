// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Trace files, version 1:
//   trace := head event* end
//   event := storage | op | release
// The key neap_trace, storage, op, release or end identifies a line. docs/formats.md has the other
// keys.
#include "graph/json_lines.h"
#include "graph/program.h"

#include <array>
#include <utility>

namespace neap::graph {
namespace {

// Larger values count as damage. That keeps all sums of a simulator far from 2^63: a peak is at
// most twice the sum of all storages, plus one workspace.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 56;
constexpr std::int64_t kMostBytesInAll = std::int64_t{1} << 60;
constexpr std::int64_t kMostNs = std::int64_t{1} << 53;  // 104 days, for one operator and for all

enum class Kind : std::uint8_t { Head, Storage, Op, Release, End };
constexpr std::array<std::string_view, 5> kKinds{"neap_trace", "storage", "op", "release", "end"};
// In the order of StorageKind and of Phase.
constexpr std::array<std::string_view, 6> kStorageKinds{"constant", "parameter", "buffer",
                                                        "input",    "gradient",  "optimizer"};
constexpr std::array<std::string_view, 4> kPhases{"forward", "backward", "optimizer", "other"};

template <class Enum, std::size_t count>
std::string_view name_of(Enum value, const std::array<std::string_view, count>& names) {
  return names.at(static_cast<std::size_t>(value));
}

// The sums of a trace so far. Line is a JsonObject or a LineWriter; its refuse() reports an error.
class Sums {
 public:
  template <class Line>
  void add(const Given& given, const Line& line) {
    add_bytes(given.bytes, line);
  }
  template <class Line>
  void add(const Operator& op, const Line& line) {
    for (const Made& made : op.makes) add_bytes(made.bytes, line);
    ns_ += op.ns;
    if (ns_ > kMostNs) {
      line.refuse("\"ns\": all operators so far take " + std::to_string(ns_) +
                  " ns, expected at most 2^53 (9007199254740992)");
    }
  }
  template <class Line>
  void add(const Release&, const Line&) {}

 private:
  template <class Line>
  void add_bytes(std::int64_t bytes, const Line& line) {
    bytes_ += bytes;
    if (bytes_ <= kMostBytesInAll) return;
    line.refuse("\"bytes\": all storages so far take " + std::to_string(bytes_) +
                " bytes, expected at most 2^60 (1152921504606846976)");
  }

  std::int64_t bytes_ = 0;
  std::int64_t ns_ = 0;
};

// ---------------------------------------------------------------- reading

class TraceReader {
 public:
  explicit TraceReader(JsonLines& lines) : lines_(lines) {}

  Trace read() {
    const JsonObject head = lines_.head(kKinds);
    trace_.label = head.text("label");
    trace_.device = head.text("device");
    trace_.torch = head.text("torch");
    if (head.has("reserved")) trace_.reserved = head.number("reserved", kMostBytesInAll);
    for (const auto& [key, to] : {std::pair{"out_bytes_per_s", &trace_.out_bytes_per_s},
                                  std::pair{"in_bytes_per_s", &trace_.in_bytes_per_s}}) {
      if (head.has(key)) *to = head.number(key);
      if (head.has(key) && *to == 0) {
        head.refuse("\"" + std::string(key) + "\": expected a whole number above 0, found 0");
      }
    }
    while (read_event()) {
    }
    if (lines_.next()) lines_.refuse("stands after the end; expected nothing more");
    return std::move(trace_);
  }

 private:
  // False at the end line.
  bool read_event() {
    const std::optional<JsonObject> line = lines_.next();
    if (!line) lines_.refuse_end("an event or the end, {\"end\":true, ...}");
    switch (static_cast<Kind>(line->kind(kKinds))) {
      case Kind::Head:
        line->refuse("is a second head; a file holds one trace");
      case Kind::Storage:
        add(Given{.storage = line->number("storage"),
                  .bytes = line->number("bytes", kMostBytes),
                  .kind = static_cast<StorageKind>(line->choice("kind", kStorageKinds))},
            *line);
        return true;
      case Kind::Op:
        add(read_operator(*line), *line);
        return true;
      case Kind::Release:
        add(Release{.storage = line->number("release")}, *line);
        return true;
      case Kind::End:
        break;
    }
    if (!line->flag("end")) line->refuse("\"end\": expected true, found false");
    trace_.keep = line->numbers("keep");
    return false;
  }

  template <class One>
  void add(One one, const JsonObject& line) {
    sums_.add(one, line);
    trace_.events.emplace_back(std::move(one));
  }

  Operator read_operator(const JsonObject& line) {
    const std::int64_t number = line.number("op");
    if (number != operators_) {
      line.refuse("\"op\": operators count from 0 in order: expected " +
                  std::to_string(operators_) + ", found " + std::to_string(number));
    }
    ++operators_;
    Operator op{.name = line.text("name"),
                .layer = line.text("scope"),
                .phase = static_cast<Phase>(line.choice("phase", kPhases)),
                .reads = line.numbers("in"),
                .mutates = line.numbers("mutates"),
                .ns = line.number("ns", kMostNs),
                .workspace = line.number("workspace", kMostBytes),
                .random = line.flag("random")};
    for (const JsonObject& made : line.objects("out")) {
      op.makes.push_back({made.number("storage"), made.number("bytes", kMostBytes)});
    }
    if (line.has("mutates_once")) op.mutates_once = line.numbers("mutates_once");
    if (line.has("replayable")) op.replayable = line.flag("replayable");
    if (line.has("call")) op.call = line.hash("call");
    if (line.has("reserved")) op.reserved = line.number("reserved", kMostBytesInAll);
    return op;
  }

  JsonLines& lines_;
  Trace trace_;
  Sums sums_;
  std::int64_t operators_ = 0;
};

// Program has the rules about ids, for traces from files and for others.
void check_ids(const Trace& trace, const std::string& name) {
  try {
    const Program program(trace);
  } catch (const FormatError& error) {
    std::string_view what = error.what();
    constexpr std::string_view kWho = "trace: ";
    if (what.starts_with(kWho)) what.remove_prefix(kWho.size());
    throw FormatError(name + ": " + std::string(what), error.line);
  }
}

Trace read(JsonLines lines) {
  Trace trace = TraceReader(lines).read();
  check_ids(trace, lines.name());
  return trace;
}

// ---------------------------------------------------------------- writing

void write_made(LineWriter& line, const Made& made) {
  line.number("storage", made.storage);
  line.number("bytes", made.bytes, kMostBytes);
}

class TraceWriter {
 public:
  explicit TraceWriter(std::ostream& out) : out_(out) {}

  void write(const Trace& trace) {
    LineWriter head("trace", line_);
    head.number("neap_trace", 1);
    head.text("label", trace.label);
    head.text("device", trace.device);
    head.text("torch", trace.torch);
    if (trace.reserved != 0) head.number("reserved", trace.reserved, kMostBytesInAll);
    if (trace.out_bytes_per_s != 0) {
      head.number("out_bytes_per_s", trace.out_bytes_per_s);
      head.number("in_bytes_per_s", trace.in_bytes_per_s);
    }
    head.finish(out_);
    for (const Event& event : trace.events) {
      LineWriter line("trace", ++line_);
      // Each number is checked when it is written, so the sums cannot overflow.
      std::visit(
          [&](const auto& one) {
            write(line, one);
            sums_.add(one, line);
          },
          event);
      line.finish(out_);
    }
    LineWriter end("trace", ++line_);
    end.flag("end", true);
    end.numbers("keep", trace.keep);
    end.finish(out_);
  }

 private:
  static void write(LineWriter& line, const Given& given) {
    line.number("storage", given.storage);
    line.number("bytes", given.bytes, kMostBytes);
    line.text("kind", name_of(given.kind, kStorageKinds));
  }

  void write(LineWriter& line, const Operator& op) {
    line.number("op", operators_++);
    line.text("name", op.name);
    line.numbers("in", op.reads);
    line.objects("out", op.makes, [&](const Made& made) { write_made(line, made); });
    line.numbers("mutates", op.mutates);
    if (!op.mutates_once.empty()) line.numbers("mutates_once", op.mutates_once);
    line.number("ns", op.ns, kMostNs);
    line.number("workspace", op.workspace, kMostBytes);
    line.flag("random", op.random);
    if (!op.replayable) line.flag("replayable", false);
    if (op.call != 0) line.hash("call", op.call);
    if (op.reserved != 0) line.number("reserved", op.reserved, kMostBytesInAll);
    line.text("phase", name_of(op.phase, kPhases));
    line.text("scope", op.layer);
  }

  static void write(LineWriter& line, const Release& release) {
    line.number("release", release.storage);
  }

  std::ostream& out_;
  Sums sums_;
  std::int64_t line_ = 1;
  std::int64_t operators_ = 0;
};

}  // namespace

Trace read_trace(const std::filesystem::path& path) {
  return read(JsonLines(open_file(path), path.string()));
}

Trace read_trace(std::istream& in, const std::string& name) {
  return read(JsonLines(open_stream(in, name), name));
}

void write_trace(const Trace& trace, std::ostream& out) {
  const Program program(trace);  // throws for what could not be read back
  TraceWriter(out).write(trace);
}

}  // namespace neap::graph
