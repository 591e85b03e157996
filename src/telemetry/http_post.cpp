#include "telemetry/http_post.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <stem/error.hpp>
#include <stem/version.hpp>

#include "core/redaction.hpp"
#include "telemetry/curl_library.hpp"
#include "telemetry/gzip.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

/// Descriptors are closed on exec from birth.
curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

}  // namespace

struct HttpPost::Handles {
  const CurlLibrary& curl = curl_library();
  CURLM* multi = curl.curl_multi_init();
  CURL* easy = curl.curl_easy_init();
  curl_slist* headers = nullptr;
  char error[CURL_ERROR_SIZE] = {};

  Handles() {
    if (!multi || !easy) throw Error(Exit::software, "libcurl cannot be started");
  }
  ~Handles() {
    curl.curl_easy_cleanup(easy);
    curl.curl_multi_cleanup(multi);
    curl.curl_slist_free_all(headers);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  template <class Value>
  void set(CURLoption option, Value value) const {
    if (curl.curl_easy_setopt(easy, option, value) != CURLE_OK)
      throw Error(Exit::config, "libcurl does not know what it is asked for (option " +
                                    std::to_string(option) + "); it is too old");
  }
  void header(const std::string& line) {
    if (auto* const longer = curl.curl_slist_append(headers, line.c_str())) headers = longer;
  }
};

/// One request on its way.
struct HttpPost::Request {
  std::string body{};
  std::size_t size = 0;  ///< of all that came, headers included

  bool take(std::size_t bytes) { return (size += bytes) <= longest_answer; }
  static std::size_t on_header(char*, std::size_t one, std::size_t count, void* self) {
    return static_cast<Request*>(self)->take(one * count) ? one * count : 0;
  }
  static std::size_t on_body(char* data, std::size_t one, std::size_t count, void* self) {
    auto& request = *static_cast<Request*>(self);
    if (!request.take(one * count)) return 0;
    request.body.append(data, one * count);
    return one * count;
  }
};

HttpPost::HttpPost(const CollectorConfig& config)
    : url_(config.url), gzip_(config.gzip), handles_(std::make_unique<Handles>()) {
  auto& h = *handles_;
  for (const auto& [name, value] : config.headers) {
    if (name == "content-type" || name == "content-length" || name == "transfer-encoding" ||
        name == "content-encoding")
      continue;
    // libcurl's way to send a header without a value.
    h.header(value.empty() ? name + ";" : name + ": " + value);
  }
  h.header("Content-Type: application/json");
  if (config.gzip) h.header("Content-Encoding: gzip");
  h.header("Expect:");  // a collector that must be asked first costs a round trip

  h.set(CURLOPT_URL, url_.c_str());
  h.set(CURLOPT_POST, 1L);
  h.set(CURLOPT_HTTPHEADER, h.headers);
  h.set(CURLOPT_USERAGENT, (std::string("OTel-OTLP-Exporter-Stem/") + version).c_str());
  h.set(CURLOPT_NOSIGNAL, 1L);
  h.set(CURLOPT_FOLLOWLOCATION, 0L);
  h.set(CURLOPT_TIMEOUT_MS, static_cast<long>(duration_cast<milliseconds>(config.timeout).count()));
  h.set(CURLOPT_ERRORBUFFER, h.error);
  h.set(CURLOPT_WRITEFUNCTION, &Request::on_body);
  h.set(CURLOPT_HEADERFUNCTION, &Request::on_header);
  h.set(CURLOPT_OPENSOCKETFUNCTION, &open_socket);
#if LIBCURL_VERSION_NUM >= 0x075500
  h.set(CURLOPT_PROTOCOLS_STR, "http,https");
#else
  h.set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  h.set(CURLOPT_QUICK_EXIT, 1L);  // or giving up waits for the name server
#endif
  if (!config.certificate.empty()) {
    h.set(CURLOPT_CAINFO, config.certificate.c_str());
    // Beside the file libcurl asks the system's directory, so that every public authority would do. One that
    // is built without directories says that it does not know the option.
    h.curl.curl_easy_setopt(h.easy, CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  }
  if (!config.client_certificate.empty()) {
    h.set(CURLOPT_SSLCERT, config.client_certificate.c_str());
    h.set(CURLOPT_SSLKEY, config.client_key.c_str());
  }
}

HttpPost::~HttpPost() = default;

void HttpPost::wake() {
  handles_->curl.curl_multi_wakeup(handles_->multi);
}

HttpAnswer HttpPost::post(const std::string& body, const std::function<bool()>& stop) {
  auto& h = *handles_;
  Request request;
  h.error[0] = '\0';
  const auto packed = gzip_ ? gzip(body) : std::string();
  const auto& sent = gzip_ ? packed : body;
  h.set(CURLOPT_POSTFIELDS, sent.c_str());
  h.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(sent.size()));
  h.set(CURLOPT_WRITEDATA, &request);
  h.set(CURLOPT_HEADERDATA, &request);
  if (h.curl.curl_multi_add_handle(h.multi, h.easy) != CURLM_OK)
    return {HttpAnswer::Kind::later, "libcurl takes no request"};

  std::optional<HttpAnswer> told;
  while (!told) {
    int running = 0;
    if (h.curl.curl_multi_perform(h.multi, &running) != CURLM_OK) {
      told = {HttpAnswer::Kind::later, "libcurl failed"};
    } else if (running == 0) {
      int left = 0;
      const auto* message = h.curl.curl_multi_info_read(h.multi, &left);
      told = message ? answer(request, message->data.result)
                     : HttpAnswer{HttpAnswer::Kind::later, "libcurl lost the request"};
    } else if (stop()) {
      told = {HttpAnswer::Kind::given_up, "given up"};
    } else {
      h.curl.curl_multi_poll(h.multi, nullptr, 0, 200, nullptr);
    }
  }
  h.curl.curl_multi_remove_handle(h.multi, h.easy);
  return std::move(*told);
}

HttpAnswer HttpPost::answer(Request& request, int result) const {
  using Kind = HttpAnswer::Kind;
  auto& h = *handles_;
  if (request.size > longest_answer) return {Kind::refused, "its answer does not end"};
  if (result != CURLE_OK) {
    std::string why = h.error[0] != '\0' ? h.error : h.curl.curl_easy_strerror(static_cast<CURLcode>(result));
    std::replace_if(
        why.begin(), why.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
    return {Kind::later, redacted(why)};
  }
  long status = 0;
  curl_off_t seconds = 0;
  h.curl.curl_easy_getinfo(h.easy, CURLINFO_RESPONSE_CODE, &status);
  h.curl.curl_easy_getinfo(h.easy, CURLINFO_RETRY_AFTER, &seconds);
  if (status >= 200 && status < 300) return {Kind::accepted, {}, {}, std::move(request.body)};
  const bool later = status == 429 || status == 502 || status == 503 || status == 504;
  constexpr curl_off_t longest = 3600;
  return {later ? Kind::later : Kind::refused, "it answers " + std::to_string(status),
          std::chrono::seconds{std::clamp<curl_off_t>(seconds, 0, longest)}};
}

}  // namespace stem
