#include "storage/sqlite.hpp"

#include <stem/error.hpp>

#include "storage/sqlite_broker.hpp"
#include "storage/sqlite_schema.hpp"
#include "storage/sqlite_store.hpp"

namespace stem {
namespace {

SqliteOptions options_from(const Url& url) {
  SqliteOptions options{.path = url.location};
  if (!options.path.starts_with('/'))
    throw Error(
        Exit::config,
        url.text + ": the path must be absolute; write three slashes: sqlite:///var/lib/stem/stem.db");
  for (const auto& [name, value] : url.parameters) {
    if (name == "synchronous") {
      if (value != "full" && value != "normal")
        throw Error(Exit::config, url.text + ": synchronous is full or normal, not '" + value + "'");
      options.sync_each_commit = value == "full";
    } else if (name == "busy_timeout") {
      try {
        options.busy_timeout = parse_duration(value);
      } catch (const Error& error) {
        throw Error(Exit::config, url.text + ": busy_timeout: " + error.what());
      }
    } else {
      throw Error(Exit::config,
                  url.text + ": unknown parameter '" + name + "'; there are busy_timeout and synchronous");
    }
  }
  return options;
}

}  // namespace

Storage open_sqlite(const Url& url, const Clock& clock) {
  const auto database = std::make_shared<SqliteDatabase>(options_from(url));
  bring_up_to_date(*database);
  return {std::make_shared<SqliteBroker>(database, clock), std::make_shared<SqliteStore>(database, clock)};
}

}  // namespace stem
