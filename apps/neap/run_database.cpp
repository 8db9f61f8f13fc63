// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_database.h"

#include "command_line.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace neap::app {
namespace {

// A name that SQL needs no quotes for.
std::string name_of_column(const std::string& key) {
  std::string name;
  for (const char one : key) {
    const auto byte = static_cast<unsigned char>(one);
    name += std::isalnum(byte) != 0 ? static_cast<char>(std::tolower(byte)) : '_';
  }
  return name;
}

// Settings are texts, and SQL's true is 1.
void bind(SQLite::Statement& statement, int at, const Json& value) {
  if (value.is_boolean()) {
    statement.bind(at, value.get<bool>() ? 1 : 0);
  } else if (value.is_number_integer()) {
    statement.bind(at, value.get<std::int64_t>());
  } else if (value.is_number()) {
    statement.bind(at, value.get<double>());
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text == "true" || text == "false") {
      statement.bind(at, text == "true" ? 1 : 0);
    } else {
      statement.bind(at, text);
    }
  } else {
    statement.bind(at);
  }
}

}  // namespace

RunColumns columns_of(const TrainingRun& run) {
  RunColumns columns{{"run", run.name}};
  std::set<std::string> names{"run", "id"};
  const auto add = [&](const std::string& key, const Json& value) {
    const std::string name = name_of_column(key);
    if (names.insert(name).second) columns.emplace_back(name, value);
  };
  const RunFigures figures = figures_of(run);
  const RunColumns results{{"ending", figures.ending},
                           {"steps", run.steps.size()},
                           {"loss", figures.loss},
                           {"accuracy", figures.accuracy},
                           {"test_loss", figures.test_loss},
                           {"best_step", figures.best_step},
                           {"best_accuracy", figures.best_accuracy},
                           {"best_test_loss", figures.best_test_loss},
                           {"budget_bytes", figures.budget_bytes},
                           {"peak_bytes", figures.peak_bytes},
                           {"plain_peak_bytes", figures.plain_peak_bytes},
                           {"step_ms_median", figures.step_ms_median},
                           {"against_plain_median", figures.against_plain_median},
                           {"replays", figures.replays},
                           {"planned_steps", figures.planned_steps}};
  // A setting cannot take the name of a result.
  for (const auto& [name, value] : results) names.insert(name);
  if (run.start.is_object()) {
    for (const auto& [key, value] : run.start.items()) {
      if (key != "event" && value.is_primitive()) add(key, value);
    }
    const auto settings = run.start.find("settings");
    if (settings != run.start.end() && settings->is_object()) {
      for (const auto& [key, value] : settings->items()) {
        if (value.is_primitive()) add(key, value);
      }
    }
  }
  columns.insert(columns.end(), results.begin(), results.end());
  return columns;
}

struct RunDatabase::State {
  SQLite::Database database{":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE};
  std::vector<std::string> columns;

  // Else a name in double quotes that no column has would be a text, and nothing would be found.
  State() {
    for (const int texts_in_double_quotes : {SQLITE_DBCONFIG_DQS_DML, SQLITE_DBCONFIG_DQS_DDL}) {
      if (sqlite3_db_config(database.getHandle(), texts_in_double_quotes, 0, nullptr) !=
          SQLITE_OK) {
        throw Error(std::string("SQLite ") + sqlite3_libversion() +
                    " cannot tell names from texts; install 3.29 or newer");
      }
    }
  }
};

RunDatabase::RunDatabase(const std::vector<RunColumns>& runs) : state_(std::make_unique<State>()) {
  std::vector<std::string>& columns = state_->columns;
  for (const RunColumns& run : runs) {
    for (const auto& [name, value] : run) {
      if (std::ranges::find(columns, name) == columns.end()) columns.push_back(name);
    }
  }
  try {
    SQLite::Database& database = state_->database;
    // NUMERIC: a text such as "32" compares as a number.
    std::string table = "CREATE TABLE runs (id INTEGER PRIMARY KEY";
    for (const std::string& name : columns) table += ", \"" + name + "\" NUMERIC";
    database.exec(table + ")");
    SQLite::Transaction transaction(database);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      std::string names = "id", values = "?";
      for (const auto& [name, value] : runs[i]) {
        names += ", \"" + name + '"';
        values += ", ?";
      }
      SQLite::Statement insert(database,
                               "INSERT INTO runs (" + names + ") VALUES (" + values + ")");
      insert.bind(1, static_cast<std::int64_t>(i));
      for (std::size_t column = 0; column < runs[i].size(); ++column) {
        bind(insert, static_cast<int>(column) + 2, runs[i][column].second);
      }
      insert.exec();
    }
    transaction.commit();
  } catch (const SQLite::Exception& error) {
    throw Error(std::string("the runs do not fit into a table of SQLite: ") + error.what());
  }
}

RunDatabase::~RunDatabase() = default;

std::vector<std::size_t> RunDatabase::select(const std::string& where,
                                             const std::string& sort) const {
  for (const std::string& part : {where, sort}) {
    // SQLite would leave out what follows it without a word.
    if (part.find(';') != std::string::npos) {
      throw UsageError("runs: '" + part + "' has a semicolon; give one condition, or one order");
    }
  }
  std::string query = "SELECT id FROM runs";
  if (!where.empty()) query += " WHERE (" + where + "\n)";
  query += " ORDER BY ";
  if (!sort.empty()) query += sort + "\nNULLS LAST, ";
  query += "id";
  try {
    std::vector<std::size_t> chosen;
    SQLite::Statement statement(state_->database, query);
    while (statement.executeStep()) {
      chosen.push_back(static_cast<std::size_t>(statement.getColumn(0).getInt64()));
    }
    return chosen;
  } catch (const SQLite::Exception& error) {
    std::string names;
    for (const std::string& name : state_->columns) names += (names.empty() ? "" : ", ") + name;
    throw UsageError("runs: SQLite does not understand " +
                     (where.empty()
                          ? "--sort '" + sort
                          : "--where '" + where + (sort.empty() ? "" : "' --sort '" + sort)) +
                     "': " + error.what() + "; the columns are " + names);
  }
}

}  // namespace neap::app
