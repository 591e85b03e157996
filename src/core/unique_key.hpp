#pragma once

#include <optional>
#include <stem/job.hpp>
#include <string>

namespace stem {

/// Who keeps others of a unique key away, as the store remembers it under store_key().
struct UniqueHolder {
  std::string job{};
  UniqueUntil until = UniqueUntil::ended;
  bool published =
      true;  ///< false: it may be in the broker, or not; only where broker and store are two systems

  friend bool operator==(const UniqueHolder&, const UniqueHolder&) = default;
};

std::string to_wire(const UniqueHolder& holder);
/// Throws Error (exit 65).
UniqueHolder unique_holder_from_wire(const std::string& wire);

/// The key within the task: what the producer chose, or the SHA-256 of the arguments, in hexadecimal.
/// Arguments are the same whatever the order of their keys; headers, among them those of tracing, do not
/// count. Throws Error: 64 if the chosen key is not 1 to 128 printable characters; 65 for arguments that are
/// not UTF-8; 78 without OpenSSL's libcrypto.
std::string unique_key(const std::string& chosen, const Json& args);
/// Where the holder of a task's key is remembered.
std::string unique_store_key(const std::string& task, const std::string& key);

}  // namespace stem
