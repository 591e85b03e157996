#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "storage/tls_context.hpp"
#include "storage/tls_fault.hpp"

namespace stem {

/// One conversation over TLS, without a socket: what comes from the peer is fed, what goes to it is taken.
/// Not thread-safe. All that throw, throw Error as tls_fault() makes it; after that it is good for nothing
/// but destruction and take(), which tells the peer.
class TlsStream {
 public:
  /// `host` as the address has it: it is said to the server, and must be in its certificate if `checks_host`.
  /// Empty = none.
  TlsStream(const std::shared_ptr<TlsContext>& context, const std::string& host, bool checks_host = true);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  /// Goes on with the handshake as far as what was fed allows; true when it is over.
  bool shake_hands();
  /// Bytes from the peer.
  void feed(std::string_view bytes);
  /// Bytes for the peer, after each of the others.
  std::string take();
  /// What the peer has said; 0 = nothing more until more is fed.
  std::size_t read(char* buffer, std::size_t size);
  void write(std::string_view text);
  /// Whether the peer has ended the conversation.
  bool ended() const { return ended_; }

  /// After the handshake.
  TlsCertificate peer() const;
  std::string version() const;  ///< `TLSv1.3`
  std::string cipher() const;

 private:
  static int verify(int fine, X509_STORE_CTX* chain);
  [[noreturn]] void fail();

  const std::shared_ptr<TlsContext> settings_;
  const std::shared_ptr<SSL_CTX> context_;
  const std::string host_;
  SSL* ssl_ = nullptr;
  BIO* in_ = nullptr;   // owned by ssl_
  BIO* out_ = nullptr;  // owned by ssl_
  std::optional<TlsVerdict> verdict_;
  bool ended_ = false;
};

}  // namespace stem
