#pragma once

#include <array>
#include <string_view>

namespace stem {

/// What an envelope holds, in the order of its wire form: docs/envelope.md.
enum class EnvelopeField {
  id,
  name,
  args,
  headers,
  enqueued_at,
  not_before,
  priority,
  attempt,
  max_retries,
  visibility_timeout,
  queue,
  meta
};
inline constexpr std::array<std::string_view, 12> envelope_field_names{
    "id",       "name",    "args",       "headers",           "enqueuedAt", "notBefore",
    "priority", "attempt", "maxRetries", "visibilityTimeout", "queue",      "meta"};

constexpr std::string_view name_of(EnvelopeField field) {
  return envelope_field_names[static_cast<std::size_t>(field)];
}

}  // namespace stem
