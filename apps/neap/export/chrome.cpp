// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "export/chrome.h"

#include <neap/timeline.h>
#include <neap/version.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

using graph::Operator;

// The tracks of a process; 0 is the process itself.
constexpr int kOperators = 1, kReplays = 2, kEvictions = 3;

// Threads of two processes have two numbers, and none is that of its process, which would make it
// the main one.
int thread_of(int process, int track) { return 10 * process + track; }

// Microseconds; whole ones as whole numbers.
Json time_of(std::int64_t ns) {
  constexpr std::int64_t kNsOfUs = 1000;
  if (ns % kNsOfUs == 0) return ns / kNsOfUs;
  return static_cast<double>(ns) / static_cast<double>(kNsOfUs);
}

std::int64_t bytes_made_by(const Operator& op) {
  std::int64_t bytes = 0;
  for (const graph::Made& made : op.makes) bytes += made.bytes;
  return bytes;
}

// The events, each written as soon as it is there: a long step has hundreds of thousands. Time
// comes before names: readers that look for it first need not know each escape of a name.
class Events {
 public:
  void name(int process, int track, const std::string& name) {
    add({{"ph", "M"},
         {"name", track == 0 ? "process_name" : "thread_name"},
         {"pid", process},
         {"tid", thread_of(process, track)},
         {"args", {{"name", name}}}});
  }
  // Slices are pairs of a begin and an end. In one event with a length, begin and length would be
  // rounded apart, and a slice could end after the one that it is in.
  void begin(int process, int track, std::int64_t ns, const std::string& name, const char* category,
             Json args) {
    add({{"ph", "B"},
         {"ts", time_of(ns)},
         {"pid", process},
         {"tid", thread_of(process, track)},
         {"name", name},
         {"cat", category},
         {"args", std::move(args)}});
  }
  void end(int process, int track, std::int64_t ns) {
    add({{"ph", "E"}, {"ts", time_of(ns)}, {"pid", process}, {"tid", thread_of(process, track)}});
  }
  void count(int process, std::int64_t ns, const char* name, Json values) {
    add({{"ph", "C"},
         {"ts", time_of(ns)},
         {"pid", process},
         {"name", name},
         {"args", std::move(values)}});
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void add(const Json& event) {
    if (!text_.empty()) text_ += ",\n";
    text_ += event.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  std::string text_;
};

// The phase and the modules around the operator that runs, as slices around its own.
class Nesting {
 public:
  Nesting(Events& events, int process) : events_(events), process_(process) {}

  void go_to(const Operator& op, std::int64_t ns) {
    const char* const phase = graph::name_of(op.phase);
    std::vector<std::string> wanted = graph::modules_of(op.layer);
    wanted.insert(wanted.begin(), phase);
    const auto [leave, enter] = std::ranges::mismatch(open_, wanted);
    close(static_cast<std::size_t>(leave - open_.begin()), ns);
    for (auto name = enter; name != wanted.end(); ++name) {
      events_.begin(process_, kOperators, ns, *name, phase, Json::object());
      open_.push_back(*name);
    }
  }
  void close(std::size_t keep, std::int64_t ns) {
    for (; open_.size() > keep; open_.pop_back()) events_.end(process_, kOperators, ns);
  }

 private:
  Events& events_;
  int process_;
  std::vector<std::string> open_;
};

// The steps of the plan that free what a later rerun makes again or what is loaded later. Each
// other one frees for good.
std::set<std::size_t> evictions_of(const graph::Plan& plan,
                                   const std::vector<const Operator*>& operators) {
  std::set<std::size_t> evictions;
  std::set<graph::StorageId> made_later;
  for (std::size_t i = plan.steps.size(); i-- > 0;) {
    const graph::Step& step = plan.steps[i];
    if (step.action == graph::Step::Action::Rerun) {
      for (const graph::Made& made : operators[static_cast<std::size_t>(step.target)]->makes) {
        made_later.insert(made.storage);
      }
    } else if (step.action == graph::Step::Action::Load) {
      made_later.insert(step.target);
    } else if (step.action == graph::Step::Action::Free && made_later.erase(step.target) > 0) {
      evictions.insert(i);
    }
  }
  return evictions;
}

class Process {
 public:
  Process(Events& events, const graph::Trace& trace, int number, const std::string& name)
      : events_(events),
        number_(number),
        nesting_(events, number),
        categories_(categories_of(trace)),
        operators_(graph::operators_of(trace)) {
    for (const Operator* const op : operators_) {
      for (const graph::Made& made : op->makes) storages_[made.storage] = {made.bytes, op};
    }
    for (const graph::Event& event : trace.events) {
      const auto* const given = std::get_if<graph::Given>(&event);
      if (given != nullptr) storages_[given->storage] = {given->bytes, nullptr};
    }
    events_.name(number, 0, name);
    events_.name(number, kOperators, "operators");
  }

  void follow(const graph::Plan& plan, const graph::Timeline& line,
              std::optional<std::int64_t> budget) {
    const std::set<std::size_t> evictions = evictions_of(plan, operators_);
    if (budget) {
      events_.name(number_, kReplays, "replays");
      events_.name(number_, kEvictions, "evictions");
    }
    // A moment for each run and rerun, between one before them and one after them.
    std::size_t moment = 0;
    count(line.moments[moment++], budget);
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      const graph::Step& step = plan.steps[i];
      if (step.action == graph::Step::Action::Free) {
        if (evictions.contains(i)) evict(step.target);
        continue;
      }
      if (step.action == graph::Step::Action::Offload || step.action == graph::Step::Action::Load) {
        continue;
      }
      const graph::Moment& now = line.moments[moment++];
      count(now, budget);
      run(static_cast<std::size_t>(step.target), now, line.moments[moment].ns);
    }
    count(line.moments.back(), budget);
    nesting_.close(0, line.moments.back().ns);
  }

 private:
  struct Storage {
    std::int64_t bytes = 0;
    const Operator* maker = nullptr;  // of a given one: none
  };

  void count(const graph::Moment& moment, std::optional<std::int64_t> budget) {
    Json values = Json::object();
    for (std::size_t i = 0; i < graph::kCategories; ++i) {
      values[graph::name_of(static_cast<graph::Category>(i))] = moment.bytes.at(i);
    }
    events_.count(number_, moment.ns, "memory", std::move(values));
    events_.count(number_, moment.ns, "memory in all", {{"bytes", moment.total()}});
    if (budget) events_.count(number_, moment.ns, "budget", {{"bytes", *budget}});
  }

  void evict(graph::StorageId id) {
    const Storage& storage = storages_.at(id);
    const char* const what = graph::name_of(categories_.at(id));
    evicted_bytes_ += storage.bytes;
    evicted_.push_back({{"storage", id},
                        {"bytes", storage.bytes},
                        {"what", what},
                        {"made_by", storage.maker != nullptr ? storage.maker->name : what},
                        {"layer", storage.maker != nullptr ? storage.maker->layer : ""}});
  }

  void run(std::size_t number, const graph::Moment& now, std::int64_t end) {
    const Operator& op = *operators_[number];
    const int track = now.rerun ? kReplays : kOperators;
    // Freeing takes no time, so the slice lies above the operator that the room is for.
    const bool evicts = !evicted_.empty();
    if (evicts) {
      const std::string name = evicted_.size() == 1
                                   ? "evict " + evicted_[0]["made_by"].get<std::string>()
                                   : "evict " + std::to_string(evicted_.size()) + " storages";
      events_.begin(number_, kEvictions, now.ns, name, "eviction",
                    {{"bytes", evicted_bytes_}, {"storages", std::move(evicted_)}});
      evicted_ = Json::array();
      evicted_bytes_ = 0;
    }
    if (!now.rerun) nesting_.go_to(op, now.ns);
    events_.begin(number_, track, now.ns, op.name, now.rerun ? "replay" : graph::name_of(op.phase),
                  {{"operator", number},
                   {"layer", op.layer},
                   {"phase", graph::name_of(op.phase)},
                   {"makes_bytes", bytes_made_by(op)},
                   {"workspace_bytes", op.workspace},
                   {"held_bytes", now.total()},
                   {"ns", op.ns}});
    events_.end(number_, track, end);
    if (evicts) events_.end(number_, kEvictions, end);
  }

  Events& events_;
  int number_;
  Nesting nesting_;
  std::map<graph::StorageId, graph::Category> categories_;
  std::vector<const Operator*> operators_;
  std::map<graph::StorageId, Storage> storages_;  // that operators make
  Json evicted_ = Json::array();                  // since the last operator
  std::int64_t evicted_bytes_ = 0;
};

}  // namespace

std::string chrome_trace(const TracedStep& step) {
  Events events;
  const graph::Plan plain = graph::plain_plan(step.trace);
  Process(events, step.trace, 1, "plain step")
      .follow(plain, graph::timeline(step.trace, plain), std::nullopt);
  if (step.solution) {
    const graph::Plan& plan = step.solution->plan;
    Process(events, step.trace, 2, "inside the budget")
        .follow(plan, graph::timeline(step.trace, plan), plan.budget);
  }
  const Json about{{"label", step.trace.label},
                   {"device", step.trace.device},
                   {"torch", step.trace.torch},
                   {"neap", NEAP_VERSION}};
  // No displayTimeUnit: of "ns", some readers conclude that all times are in ns.
  return "{\"otherData\":" + about.dump(-1, ' ', false, Json::error_handler_t::replace) +
         ",\"traceEvents\":[\n" + events.text() + "\n]}\n";
}

}  // namespace neap::app
