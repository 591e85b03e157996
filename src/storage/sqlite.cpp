#include "storage/sqlite.hpp"

#include <stem/error.hpp>

#include "storage/sqlite_broker.hpp"
#include "storage/sqlite_schema.hpp"
#include "storage/sqlite_store.hpp"

namespace stem {
namespace {

// Others wait behind whoever waits in a worker: its renewals, its answers, its watchdog.
constexpr std::chrono::seconds longest_busy_timeout{10};

Duration busy_timeout_from(const Url& url, const std::string& text) {
  try {
    if (const auto timeout = parse_duration(text); timeout <= longest_busy_timeout) return timeout;
  } catch (const Error&) {
    // Its message would repeat the text.
  }
  throw Error(Exit::config, url.shown() + ": busy_timeout is a duration of at most " +
                                format_duration(longest_busy_timeout) + ", such as 250ms");
}

SqliteOptions options_from(const Url& url) {
  SqliteOptions options{.path = url.location};
  if (!options.path.starts_with('/'))
    throw Error(Exit::config,
                "the path of a sqlite:// address must be absolute; write three slashes: "
                "sqlite:///var/lib/stem/stem.db");
  for (const auto& [name, value] : url.parameters) {
    if (name == "synchronous") {
      if (value != "full" && value != "normal")
        throw Error(Exit::config, url.shown() + ": synchronous is full or normal");
      options.sync_each_commit = value == "full";
    } else if (name == "busy_timeout") {
      options.busy_timeout = busy_timeout_from(url, value);
    } else {
      throw Error(Exit::config,
                  url.shown() + ": unknown parameter '" + name + "'; there are busy_timeout and synchronous");
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
