#pragma once

#include <doctest/doctest.h>

#include "storage_rig.hpp"
#include "tls_assets.hpp"

/// All on one server that asks for a client's certificate, each in a namespace of its own.
struct TlsRig : StorageRig {
  TlsRig() : StorageRig(config_here()) {}
  static const TlsAssets& assets() {
    static const TlsAssets made("--host localhost");
    return made;
  }
  static stem::Config config_here() {
    static const TlsRedis redis(assets(), "yes");
    stem::Config config;
    config.broker_url = redis.url("localhost", "?namespace=test-" + std::to_string(++rigs));
    config.tls.ca_cert = assets().ca();
    config.tls.client_cert = assets().client();
    config.tls.client_key = assets().client_key();
    return config;
  }
  static inline int rigs = 0;
};

/// The same on a PostgreSQL, which lets in whoever has a certificate that belongs to the user.
struct TlsPostgresRig : StorageRig {
  TlsPostgresRig() : StorageRig(config_here()) {}
  static stem::Config config_here() {
    static const TlsPostgres postgres(TlsRig::assets(), "hostssl all all all cert map=workers");
    auto config = TlsRig::config_here();
    config.broker_url = postgres.url("localhost", "schema=test-" + std::to_string(++rigs));
    return config;
  }
  static inline int rigs = 0;
};

// In the place of all other adapters. The suites are included after this.
#undef TEST_CASE_TEMPLATE
#define TEST_CASE_TEMPLATE(name, Type, ...) DOCTEST_TEST_CASE_TEMPLATE(name, Type, TlsRig, TlsPostgresRig)
