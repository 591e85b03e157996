#include "storage/tls_stream.hpp"

#include <arpa/inet.h>

#include "storage/tls_library.hpp"

namespace stem {
namespace {

bool is_address(const std::string& host) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

TlsStream::TlsStream(const std::shared_ptr<TlsContext>& context, const std::string& host, bool checks_host)
    : settings_(context), context_(context->current()), host_(host) {
  const auto& lib = tls_library();
  lib.ERR_clear_error();
  ssl_ = lib.SSL_new(context_.get());
  in_ = lib.BIO_new(lib.BIO_s_mem());
  out_ = lib.BIO_new(lib.BIO_s_mem());
  if (!ssl_ || !in_ || !out_)
    throw Error(Exit::try_again, "out of memory for TLS");  // nothing to free then, either
  lib.SSL_set_bio(ssl_, in_, out_);
  lib.SSL_set_ex_data(ssl_, 0, this);
  lib.SSL_set_connect_state(ssl_);
  auto* const wanted = lib.SSL_get0_param(ssl_);
  if (is_address(host_)) {
    if (checks_host) lib.X509_VERIFY_PARAM_set1_ip_asc(wanted, host_.c_str());
  } else if (!host_.empty()) {
    lib.SSL_ctrl(ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                 const_cast<char*>(host_.c_str()));
    // The common name of a subject is for people.
    if (checks_host)
      lib.X509_VERIFY_PARAM_set_hostflags(
          wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (checks_host) lib.SSL_set1_host(ssl_, host_.c_str());
  }
  lib.SSL_set_verify(ssl_, SSL_VERIFY_PEER, &TlsStream::verify);
}

TlsStream::~TlsStream() {
  tls_library().SSL_free(ssl_);
}

int TlsStream::verify(int fine, X509_STORE_CTX* chain) {
  const auto& lib = tls_library();
  auto* const ssl =
      static_cast<SSL*>(lib.X509_STORE_CTX_get_ex_data(chain, lib.SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& stream = *static_cast<TlsStream*>(lib.SSL_get_ex_data(ssl, 0));
  if (fine || stream.settings_->config().allow_insecure) return 1;
  if (!stream.verdict_) {
    TlsVerdict verdict{lib.X509_STORE_CTX_get_error(chain), lib.X509_STORE_CTX_get_error_depth(chain), {}};
    if (const auto* certificate = lib.X509_STORE_CTX_get_current_cert(chain))
      verdict.certificate = TlsCertificate::from(*certificate);
    stream.verdict_ = std::move(verdict);
  }
  return 0;
}

void TlsStream::fail() {
  throw tls_fault(settings_->config(), settings_->names(), host_, verdict_, tls_library().ERR_get_error());
}

bool TlsStream::shake_hands() {
  const auto& lib = tls_library();
  lib.ERR_clear_error();
  const int done = lib.SSL_do_handshake(ssl_);
  if (done == 1) return true;
  if (lib.SSL_get_error(ssl_, done) != SSL_ERROR_WANT_READ) fail();
  return false;
}

void TlsStream::feed(std::string_view bytes) {
  tls_library().BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
}

std::string TlsStream::take() {
  const auto& lib = tls_library();
  std::string bytes(lib.BIO_ctrl_pending(out_), '\0');
  if (!bytes.empty()) lib.BIO_read(out_, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

std::size_t TlsStream::read(char* buffer, std::size_t size) {
  const auto& lib = tls_library();
  lib.ERR_clear_error();
  std::size_t got = 0;
  const int done = lib.SSL_read_ex(ssl_, buffer, size, &got);
  if (done == 1) return got;
  switch (lib.SSL_get_error(ssl_, done)) {
    case SSL_ERROR_WANT_READ:
      return 0;
    case SSL_ERROR_ZERO_RETURN:
      ended_ = true;
      return 0;
    default:
      fail();
  }
}

void TlsStream::write(std::string_view text) {
  const auto& lib = tls_library();
  lib.ERR_clear_error();
  std::size_t written = 0;
  if (!text.empty() && lib.SSL_write_ex(ssl_, text.data(), text.size(), &written) != 1) fail();
}

TlsCertificate TlsStream::peer() const {
  const auto& lib = tls_library();
  const std::unique_ptr<X509, decltype(lib.X509_free)> certificate(lib.SSL_get1_peer_certificate(ssl_),
                                                                   lib.X509_free);
  return certificate ? TlsCertificate::from(*certificate) : TlsCertificate{};
}

std::string TlsStream::version() const {
  return tls_library().SSL_get_version(ssl_);
}
std::string TlsStream::cipher() const {
  const char* const name = tls_library().SSL_CIPHER_get_name(tls_library().SSL_get_current_cipher(ssl_));
  return name ? name : "";
}

}  // namespace stem
