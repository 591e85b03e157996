#pragma once

#include <functional>
#include <memory>
#include <stem/config.hpp>
#include <string>

namespace stem {

/// What came of a request.
struct HttpAnswer {
  enum class Kind {
    accepted,
    later,    ///< the same may be taken later: 429, 502, 503, 504, or the collector cannot be reached
    refused,  ///< it will never be taken: any other status ("OTLP Specification", OTLP/HTTP Response)
    given_up  ///< whoever asked for it stopped it
  };
  Kind kind = Kind::refused;
  std::string why{};       ///< unless accepted, one clause
  Duration retry_after{};  ///< what the collector asks for; 0 = nothing
  std::string body{};      ///< of an answer that is accepted
};

/// Posts to one address with libcurl, and keeps the connection. Redirections are not followed. For one thread
/// but wake().
class HttpPost {
 public:
  /// To config.url. Loads libcurl, and zlib when it first posts. Throws Error (exit 78) if libcurl cannot be.
  explicit HttpPost(const CollectorConfig& config);
  ~HttpPost();
  HttpPost(const HttpPost&) = delete;
  HttpPost& operator=(const HttpPost&) = delete;

  /// Takes config.timeout at the most, and is over at once when `stop` says so, which is asked five times a
  /// second and after wake().
  HttpAnswer post(const std::string& body, const std::function<bool()>& stop);
  /// Lets a post() of another thread ask anew. Thread-safe.
  void wake();

  const std::string& url() const { return url_; }

  /// Of an answer: a collector has little to say, and one that goes on for ever is left.
  static constexpr std::size_t longest_answer = 256 * 1024;

 private:
  struct Request;
  HttpAnswer answer(Request& request, int result) const;

  const std::string url_;
  const bool gzip_;
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace stem
