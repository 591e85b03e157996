#pragma once

#include <doctest/doctest.h>

#include "error_of.hpp"
#include "storage_rig.hpp"
#include "tls_assets.hpp"

// What a server with TLS is asked with, and what comes of it.

inline const TlsAssets& assets() {
  static const TlsAssets made("--host localhost --host 127.0.0.1 --host ::1 --host db.example");
  return made;
}

inline stem::TlsConfig trusting(const std::string& ca = assets().ca()) {
  stem::TlsConfig config;
  config.ca_cert = ca;
  return config;
}

inline stem::TlsConfig with_client(const TlsAssets& from = assets()) {
  auto config = trusting();
  config.client_cert = from.client();
  config.client_key = from.client_key();
  return config;
}

inline stem::Config config_of(const std::string& url, const stem::TlsConfig& tls) {
  stem::Config config;
  config.broker_url = url;
  config.tls = tls;
  return config;
}

/// What comes of the first call.
inline Failed asking(const std::string& url, const stem::TlsConfig& tls) {
  return error_of([&] { stem::open_storage(config_of(url, tls)).broker->depths(); });
}

inline void fails(const std::string& url, const stem::TlsConfig& tls, int status, const std::vector<std::string>& parts) {
  const auto failed = asking(url, tls);
  CAPTURE(failed.message);
  CHECK(failed.status == status);
  CHECK(failed.is_one_line());
  for (const auto& part : parts) {
    CAPTURE(part);
    CHECK(failed.says(part));
  }
}
