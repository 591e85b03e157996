#include "service/http_request.hpp"

#include <algorithm>

namespace stem {
namespace {

/// tchar of RFC 9110.
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

const char* phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Unknown";
  }
}

}  // namespace

std::optional<std::size_t> HttpRequest::end(std::string_view text) {
  const auto strict = text.find("\r\n\r\n"), bare = text.find("\n\n");
  if (strict == text.npos && bare == text.npos) return std::nullopt;
  return strict < bare ? strict + 4 : bare + 2;
}

std::optional<HttpRequest> HttpRequest::from(std::string_view head) {
  auto line = head.substr(0, head.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  const auto first = line.find(' '), last = line.rfind(' ');
  if (first == line.npos || last == first) return std::nullopt;
  const auto method = line.substr(0, first), version = line.substr(last + 1);
  auto target = line.substr(first + 1, last - first - 1);
  if (!is_token(method) || (version != "HTTP/1.1" && version != "HTTP/1.0")) return std::nullopt;
  // Through a proxy, the whole address comes.
  if (target.starts_with("http://")) {
    const auto slash = target.find('/', 7);
    target = slash == target.npos ? std::string_view("/") : target.substr(slash);
  }
  const bool shown =
      std::all_of(target.begin(), target.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!target.starts_with('/') || !shown) return std::nullopt;
  return HttpRequest{std::string(method), std::string(target.substr(0, target.find('?')))};
}

std::string HttpAnswer::wire(bool without_body) const {
  std::string text = "HTTP/1.1 ";
  text.append(std::to_string(status))
      .append(" ")
      .append(phrase(status))
      .append("\r\nContent-Type: ")
      .append(type);
  text.append("\r\nContent-Length: ").append(std::to_string(body.size()));
  if (status == 405) text.append("\r\nAllow: GET, HEAD");
  text.append("\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n");
  if (!without_body) text.append(body);
  return text;
}

}  // namespace stem
