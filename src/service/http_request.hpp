#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace stem {

/// The head of an HTTP/1.x request, as far as a page that is read needs it.
struct HttpRequest {
  std::string method;
  std::string path;  ///< without the query

  /// Heads that are longer are refused.
  static constexpr std::size_t longest = 8 * 1024;

  /// Where the head in `text` ends, behind its empty line; empty if that has not come yet.
  static std::optional<std::size_t> end(std::string_view text);
  /// Reads a head up to its end. Empty if it is none.
  static std::optional<HttpRequest> from(std::string_view head);
};

/// What is answered, always the last on its connection.
struct HttpAnswer {
  int status = 200;
  std::string body;
  const char* type = "text/plain; charset=utf-8";

  /// With `without_body`, the head alone, as HEAD asks for it.
  std::string wire(bool without_body) const;
};

}  // namespace stem
