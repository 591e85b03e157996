#pragma once

#include <map>
#include <optional>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <string_view>

namespace stem {

/// A job as it travels: what to run, with what, where. Never changed once published, so that a signature over
/// it holds for the job's whole life; attempts, retry times and leases live beside it in the broker. The wire
/// form is JSON, version 1: docs/envelope.md.
struct Envelope {
  std::string id;    ///< UUIDv7 unless the producer chose one; 1 to 128 printable characters without blanks
  std::string name;  ///< the task
  Json args = Json::object();
  std::map<std::string, std::string> headers;
  WallTime enqueued_at{};
  std::optional<WallTime> not_before;          ///< earliest start
  int priority = 0;                            ///< 0 to 9; 9 first
  int attempt = 0;                             ///< attempts finished before this envelope was published
  int max_retries = 0;                         ///< retries allowed beyond the first run
  std::optional<Duration> visibility_timeout;  ///< lease length that the producer asks for
  std::string queue = "default";
  Json meta = Json::object();

  friend bool operator==(const Envelope&, const Envelope&) = default;
};

/// The wire form: all twelve keys in their documented order, absent values as null. Throws Error (exit 65) if
/// arguments are not UTF-8 text, or nested deeper than 512 levels.
std::string to_wire(const Envelope& envelope);

/// Reads the wire form; absent keys take their defaults, unknown keys are ignored. Throws Error (exit 65)
/// that names the key and what it should hold.
Envelope envelope_from_wire(std::string_view wire);

/// Throws Error (exit 64) if a producer may not send this: id, name, queue or priority out of bounds.
void validate(const Envelope& envelope);

}  // namespace stem
