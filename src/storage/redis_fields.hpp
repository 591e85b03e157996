#pragma once

#include <stem/envelope.hpp>
#include <string>

#include "storage/redis_connection.hpp"

namespace stem {

/// Words of an entry in a stream: fields and values in turn.
constexpr int redis_entry_words = 26;

/// The envelope as an entry of a stream: its twelve keys under their names, absent values as empty text; and
/// `since`, when it became ready, in microseconds. Throws Error (exit 65) as to_wire() does.
void add_entry(RedisCommand& command, const Envelope& envelope, WallTime since);

/// A job as it is read from a stream.
struct RedisEntry {
  std::string id;
  std::string wire;  ///< as to_wire() made it, if add_entry() made the entry
  int attempt = 0;
};
RedisEntry read_entry(const RedisValue& words);

}  // namespace stem
