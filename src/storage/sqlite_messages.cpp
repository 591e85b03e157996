#include "storage/sqlite_messages.hpp"

#include <algorithm>
#include <charconv>

#include "storage/instant.hpp"

namespace stem {
namespace {

constexpr std::int64_t swept_at_once = 200;  // more than is said meanwhile

}  // namespace

SqliteMessages::SqliteMessages(SqliteDatabase& database)
    : add_(database, "INSERT INTO message(channel, expires, wire) VALUES(?, ?, ?)"),
      sweep_(database,
             "DELETE FROM message WHERE number IN (SELECT number FROM message WHERE expires <= ? LIMIT ?)"),
      last_(database, "SELECT seq FROM sqlite_sequence WHERE name = 'message'"),
      read_(database,
            "SELECT number, wire FROM message WHERE channel = ? AND number > ? AND expires > ? "
            "ORDER BY number LIMIT ?") {}

void SqliteMessages::add(std::string_view channel, std::string_view wire, WallTime expires) {
  add_.run(channel, micros(expires), wire);
}

void SqliteMessages::sweep(WallTime now) {
  sweep_.run(micros(now), swept_at_once);
}

std::vector<Broadcast> SqliteMessages::listen(std::vector<Listening>& channels, std::size_t limit,
                                              WallTime now) {
  std::vector<Broadcast> heard;
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX));
  const auto end = last_.number().value_or(0);
  for (auto& [channel, position] : channels) {
    std::int64_t last = end;
    if (!position.empty()) {
      std::from_chars(position.data(), position.data() + position.size(), last);
      if (last >= end) continue;
      std::size_t found = 0;
      for (auto rows = read_.query(channel, last, micros(now), most); rows.next(); ++found) {
        last = rows.integer(0);
        heard.push_back({channel, rows.text(1)});
      }
      // Nothing is left up to the end: the next look is cheap.
      if (found < limit) last = end;
    }
    position = std::to_string(last);
  }
  return heard;
}

}  // namespace stem
