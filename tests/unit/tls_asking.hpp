#pragma once

#include <doctest/doctest.h>

#include <functional>

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

inline void is_told(const Failed& failed, int status, const std::vector<std::string>& parts) {
  CAPTURE(failed.message);
  CHECK(failed.status == status);
  CHECK(failed.is_one_line());
  for (const auto& part : parts) {
    CAPTURE(part);
    CHECK(failed.says(part));
  }
}

inline void fails(const std::string& url, const stem::TlsConfig& tls, int status,
                  const std::vector<std::string>& parts) {
  is_told(asking(url, tls), status, parts);
}

/// Before anything is asked of it.
inline void is_not_opened(const std::string& url, const stem::TlsConfig& tls, int status,
                          const std::vector<std::string>& parts) {
  is_told(error_of([&] { stem::open_storage(config_of(url, tls)); }), status, parts);
}

/// A server that becomes another one, which is not trusted, while it is in use.
inline void outlives_a_change(const std::string& url, const stem::TlsConfig& tls,
                              const std::function<void()>& change) {
  const auto storage = stem::open_storage(config_of(url, tls));
  storage.broker->depths();
  change();
  Failed failed;
  // The connection that was open is noticed to be gone by the first call or the second.
  for (int i = 0; i < 3 && !failed.says("not trusted"); ++i)
    failed = error_of([&] { storage.broker->depths(); });
  is_told(failed, 69, {"authority that is not trusted"});
}

/// A worker that waits over TLS, and hears of what comes by another way.
inline void is_woken(const std::string& url, StorageRig&& other_way) {
  const auto storage = stem::open_storage(config_of(url, with_client()), other_way.clock);
  storage.broker->fetch(StorageRig::demand());
  const int wake = storage.broker->wake_fd();
  storage.broker->clear_wake();
  other_way.enqueue({"a"});
  CHECK(readable(wake, 10'000));
  storage.broker->clear_wake();
  CHECK(ids(storage.broker->fetch(StorageRig::demand())) == Ids{"a"});
}
