#include <doctest/doctest.h>
#include <sys/stat.h>

#include "storage/postgres_address.hpp"
#include "storage/postgres_connection.hpp"
#include "storage/tls_look.hpp"
#include "tls_asking.hpp"

using namespace stem;
using namespace std::chrono_literals;

// TLS to real PostgreSQL servers: who is trusted, who is not, and what is said of it. libpq does the talking.

namespace {

/// Everybody is let in, over TLS.
const TlsPostgres& open_to_all() {
  static const TlsPostgres server(assets());
  return server;
}

PostgresAddress address(const std::string& url, const TlsConfig& tls) {
  return PostgresAddress::from(Url::parse(url), tls);
}

std::string version_of(const std::string& url, const TlsConfig& tls) {
  return PostgresConnection(address(url, tls)).tls().first;
}

/// Of another authority than the server's.
const TlsAssets& other() {
  static const TlsAssets made("--host localhost --client stranger");
  return made;
}

}  // namespace

TEST_CASE(
    "postgresql tls: a server is reached by each name in its certificate, and by nothing older than TLS "
    "1.2") {
  CHECK(asking(open_to_all().url("localhost"), trusting()).status == 0);
  CHECK(asking(open_to_all().url("127.0.0.1"), trusting()).status == 0);
  CHECK(version_of(open_to_all().url(), trusting()) == "TLSv1.3");
  const TlsPostgres older(assets(), "hostssl all all all trust", {"ssl_max_protocol_version=TLSv1.2"});
  CHECK(version_of(older.url(), trusting()) == "TLSv1.2");
  const TlsPostgres oldest(
      assets(), "hostssl all all all trust",
      {"ssl_min_protocol_version=TLSv1", "ssl_max_protocol_version=TLSv1.1", "ssl_ciphers=ALL:@SECLEVEL=0"});
  fails(oldest.url(), trusting(), 78, {"speaks no TLS from version 1.2 on"});
  // Not even if the address, or libpq's own variable, would let it.
  fails(oldest.url("localhost", "ssl_min_protocol_version=TLSv1"), trusting(), 78,
        {"ssl_min_protocol_version is TLSv1.2 or TLSv1.3"});
  fails(oldest.url("localhost", "ssl_max_protocol_version=TLSv1.1"), trusting(), 78,
        {"ssl_max_protocol_version is TLSv1.2 or TLSv1.3"});
  setenv("PGSSLMINPROTOCOLVERSION", "TLSv1", 1);
  fails(oldest.url(), trusting(), 78, {"speaks no TLS from version 1.2 on"});
  unsetenv("PGSSLMINPROTOCOLVERSION");
  fails(older.url("localhost", "ssl_min_protocol_version=TLSv1.3"), trusting(), 78, {"protocol version"});
}

TEST_CASE("postgresql tls: an authority that is not trusted, ours named or the system's or the address's") {
  const auto& server = open_to_all();
  fails(server.url(), trusting(other().ca()), 78,
        {"authority that is not trusted", "those in STEM_TLS_CA_CERT (" + other().ca() + ") are",
         "put the certificate"});
  // A client's certificate alone leaves it at the system's authorities.
  auto config = with_client();
  config.ca_cert.clear();
  fails(server.url(), config, 78, {"STEM_TLS_CA_CERT is not set, so the system's authorities are trusted"});
  setenv("SSL_CERT_FILE", assets().ca().c_str(), 1);
  CHECK(asking(server.url(), config).status == 0);
  unsetenv("SSL_CERT_FILE");
  fails(server.url("localhost", "sslmode=verify-full&sslrootcert=" + other().ca()), {}, 78,
        {"those in sslrootcert of the address (" + other().ca() + ") are"});
  fails(server.url("localhost", "sslmode=verify-ca&sslrootcert=" + other().ca()), {}, 78,
        {"sslrootcert of the address"});
  const TempDir home;
  setenv("HOME", home.path().c_str(), 1);
  fails(server.url("localhost", "sslmode=verify-full"), {}, 78,
        {"sslmode=verify-full takes an authority", "STEM_TLS_CA_CERT"});
  // libpq's own place for it.
  std::filesystem::create_directory(home / ".postgresql");
  std::filesystem::copy(other().ca(), home / ".postgresql/root.crt");
  fails(server.url("localhost", "sslmode=verify-full"), {}, 78,
        {"those in sslrootcert (" + (home / ".postgresql/root.crt") + ") are"});
  std::filesystem::remove(home / ".postgresql/root.crt");
  std::filesystem::copy(assets().ca(), home / ".postgresql/root.crt");
  CHECK(asking(server.url("localhost", "sslmode=verify-full"), {}).status == 0);
  setenv("HOME", "/", 1);
}

TEST_CASE(
    "postgresql tls: a certificate for another host, expired, not valid yet, or of an authority that has "
    "expired") {
  const TlsAssets foreign("--host db.example --host 10.9.8.7");
  const TlsPostgres elsewhere(foreign);
  fails(elsewhere.url("localhost"), trusting(foreign.ca()), 78,
        {"is for db.example, 10.9.8.7, not for localhost", "STEM_BROKER_URL", "STEM_TLS_ALLOW_INSECURE"});
  fails(elsewhere.url("127.0.0.1"), trusting(foreign.ca()), 78, {"not for 127.0.0.1"});
  CHECK(asking(elsewhere.url("localhost", "sslmode=verify-ca"), trusting(foreign.ca())).status == 0);

  const auto& own = assets();
  own.issue("old", "20200101000000Z", "20200201000000Z");
  own.issue("young", "20980101000000Z", "20980201000000Z");
  own.issue("aged", "20200101000000Z", "20980101000000Z", "20210101000000Z");
  const auto with = [&](const std::string& name) {
    return TlsPostgres(own, "hostssl all all all trust", {}, name, name + "-ca.pem");
  };
  const TlsPostgres old = with("old"), young = with("young"), aged = with("aged");
  fails(old.url(), trusting(own.path("old-ca.pem")), 69,
        {"its certificate 'localhost' expired at 2020-02-01T00:00:00.000Z", "renew",
         "STEM_TLS_ALLOW_INSECURE"});
  fails(young.url(), trusting(own.path("young-ca.pem")), 69,
        {"not valid before 2098-01-01T00:00:00.000Z", "clock"});
  fails(aged.url(), trusting(own.path("aged-ca.pem")), 69,
        {"the authority 'Aged authority'", "expired at 2021-01-01", "STEM_TLS_CA_CERT"});
}

TEST_CASE("postgresql tls: STEM_TLS_ALLOW_INSECURE takes any server, whatever the address asks for") {
  const TlsAssets foreign("--host db.example");
  const TlsPostgres server(foreign);
  TlsConfig config;
  config.allow_insecure = true;
  CHECK(version_of(server.url(), config) == "TLSv1.3");
  CHECK(asking(server.url("localhost", "sslmode=verify-full&sslrootcert=" + assets().ca()), config).status ==
        0);
}

TEST_CASE("postgresql tls: what the address says of libpq's parameters wins over STEM_TLS_*") {
  const auto& server = open_to_all();
  CHECK(asking(server.url("localhost", "sslrootcert=" + assets().ca()), trusting(other().ca())).status == 0);
  CHECK(asking(server.url("localhost", "sslmode=require"), trusting(other().ca())).status == 0);
  // The host is another one, and verify-ca does not care.
  const TlsAssets foreign("--host db.example");
  const TlsPostgres elsewhere(foreign);
  CHECK(asking(elsewhere.url("localhost", "sslmode=verify-ca"), trusting(foreign.ca())).status == 0);
  fails(server.url("localhost", "sslmode=disable"), trusting(), 77,
        {"without TLS, by its pg_hba.conf", "sslmode=verify-full", "STEM_BROKER_URL", "STEM_TLS_CA_CERT"});
  auto ssl = server.url();
  ssl.replace(0, ssl.find(':'), "postgresql+ssl");
  CHECK(asking(ssl, trusting()).status == 0);
  fails(ssl, trusting(other().ca()), 78, {"authority that is not trusted"});
  CHECK(version_of(ssl, {}) == "TLSv1.3");
  // Over a Unix socket there is none, and STEM_TLS_* does not ask for it.
  CHECK(version_of(server.plain(), with_client()).empty());

  const TlsPostgres asks(assets(), "hostssl all all all cert map=workers");
  const auto pair = "sslcert=" + assets().client() + "&sslkey=" + assets().client_key();
  CHECK(asking(asks.url("localhost", pair), with_client(other())).status == 0);
  fails(asks.url("localhost", "sslcert=" + other().client() + "&sslkey=" + other().client_key()),
        with_client(), 77,
        {"does not accept the certificate in sslcert of the address (" + other().client() + ")"});
  fails(asks.url("localhost", "sslcert=/nowhere/c.pem&sslkey=" + assets().client_key()), trusting(), 66,
        {"sslcert of the address (/nowhere/c.pem) cannot be read"});
}

TEST_CASE(
    "postgresql tls: a server that asks for a client's certificate gets it; one without, with another's, or "
    "for another user is told") {
  for (const auto* protocol : {"TLSv1.3", "TLSv1.2"}) {
    CAPTURE(protocol);
    const auto newest = std::string("ssl_max_protocol_version=") + protocol;
    const TlsPostgres server(assets(),
                             "hostssl all stem all cert map=workers\nhostssl all \"stem-client\" all "
                             "cert\nhostssl all all all trust clientcert=verify-full",
                             {newest});
    CHECK(asking(server.url(), with_client()).status == 0);
    for (int i = 0; i < 3; ++i) {  // whether we still write when it hangs up is a matter of chance
      fails(server.url(), trusting(), 77,
            {"asks for a client's certificate", "STEM_TLS_CLIENT_CERT", "STEM_TLS_CLIENT_KEY"});
      fails(server.url(), with_client(other()), 77,
            {"does not accept the certificate in STEM_TLS_CLIENT_CERT (" + other().client() + ")",
             "unknown ca"});
    }
    // The role that is called like the certificate need not exist for the certificate to be right.
    fails(server.url("localhost", {}, "stem-client@"), with_client(), 77,
          {"role \"stem-client\" does not exist"});
    fails(server.url("localhost", {}, "somebody@"), with_client(), 77,
          {"the user has to be 'stem-client'", "STEM_TLS_CLIENT_CERT (" + assets().client() + ")",
           "pg_ident.conf"});
  }
  // A password does not make up for a certificate.
  const TlsPostgres both(assets(), "hostssl all all all scram-sha-256 clientcert=verify-full");
  fails(both.url("localhost", {}, "somebody:hunter2@"), with_client(), 77,
        {"refuses the user or the password", "the user has to be 'stem-client'"});
}

TEST_CASE("postgresql tls: a server without TLS, and a port that belongs to something else") {
  const int port = free_port();
  const PostgresServer plain({"listen_addresses=127.0.0.1", "port=" + std::to_string(port)});
  const auto url = "postgresql://stem@localhost:" + std::to_string(port) + "/postgres";
  CHECK(asking(url, {}).status == 0);
  fails(url, trusting(), 78, {"it has no TLS", "ssl = on", "sslmode=disable", "STEM_BROKER_URL"});
  fails(url + "?sslmode=require", {}, 78, {"it has no TLS"});
  CHECK(asking(url + "?sslmode=disable", trusting()).status == 0);
  const int silent = free_port();
  const RedisServer redis({"--port", std::to_string(silent), "--bind", "127.0.0.1"});
  fails("postgresql://stem@localhost:" + std::to_string(silent) + "/postgres?timeout=300ms", trusting(), 69,
        {"cannot reach PostgreSQL"});
}

TEST_CASE(
    "postgresql tls: files that are missing, open to others, or something else are told by variable and path "
    "when it is opened") {
  const auto refused = [](const TlsConfig& config, int status, const std::vector<std::string>& parts) {
    is_not_opened("postgresql://localhost:1/jobs", config, status, parts);
  };
  auto config = with_client();
  config.ca_cert = "/nowhere/ca.pem";
  refused(config, 66, {"STEM_TLS_CA_CERT (/nowhere/ca.pem) cannot be read: No such file"});
  config = with_client();
  config.ca_cert = assets().file("text.pem", "hello\n");
  refused(config, 78, {"STEM_TLS_CA_CERT", "holds no certificate in PEM form"});
  config = with_client();
  config.client_key = other().client_key();
  refused(config, 78,
          {"STEM_TLS_CLIENT_KEY (" + other().client_key() +
           ") is not the key of the certificate in STEM_TLS_CLIENT_CERT"});
  config.client_key = assets().file("open.pem", content_of(assets().client_key()));
  chmod(config.client_key.c_str(), 0644);
  refused(config, 78,
          {"STEM_TLS_CLIENT_KEY (" + config.client_key + ") is open to others than its owner", "chmod 0600"});
  chmod(config.client_key.c_str(), 0640);
  if (geteuid() == 0) {
    CHECK(error_of([&] { open_storage(config_of("postgresql://localhost:1/jobs", config)); }).status == 0);
    CHECK(chown(config.client_key.c_str(), 65534, 65534) == 0);
  }
  refused(config, 78, {"is open to others than its owner"});
  // Who does not use TLS does not read them, either.
  config.ca_cert = "/nowhere/ca.pem";
  CHECK(error_of([&] {
          open_storage(config_of("postgresql://localhost:1/jobs?sslmode=disable", config));
        }).status == 0);
  CHECK(error_of([&] { open_storage(config_of("postgresql:///jobs?host=/tmp", config)); }).status == 0);
}

TEST_CASE("postgresql tls: libpq's rule for open keys is ours") {
  const auto& server = open_to_all();
  const auto key = assets().file("libpq.pem", content_of(assets().client_key()));
  const auto url = server.url("localhost", "sslmode=require&sslcert=" + assets().client() + "&sslkey=" + key);
  for (const mode_t mode : {0600, 0640, 0644, 0660, 0604, 0610}) {
    CAPTURE(mode);
    chmod(key.c_str(), mode);
    const auto one = address(url, {});
    const bool ours = error_of([&] { one.trust.require_files(); }).status == 0;
    auto blind = one;
    blind.trust = {};  // so that libpq alone decides
    CHECK(ours == (error_of([&] { PostgresConnection connection(blind); }).status == 0));
  }
}

TEST_CASE("postgresql tls: what was right once and is not any more passes; it does not end a worker") {
  TlsPostgres server(assets());
  outlives_a_change(server.url(), trusting(), [&] {
    server.server().stop(SIGKILL);
    server.server().put("server.crt", content_of(other().server()));
    server.server().put("server.key", content_of(other().server_key()));
    server.server().start();
  });
}

TEST_CASE("postgresql tls: a waiting worker is woken through TLS") {
  const TlsPostgres server(assets(), "hostssl all all all cert map=workers");
  is_woken(server.url(), StorageRig(server.plain()));
}

TEST_CASE("postgresql tls: a look shows version, cipher and certificates, and that nothing is checked") {
  const auto& server = open_to_all();
  auto look = look_at_tls(server.url(), with_client());
  CHECK(look.version == "TLSv1.3");
  CHECK(look.cipher.starts_with("TLS_AES"));
  CHECK(look.server.names == std::vector<std::string>{"localhost", "127.0.0.1", "::1", "db.example"});
  CHECK(look.server.not_after > Clock::system().wall() + std::chrono::days{364});
  REQUIRE(look.client);
  CHECK(look.client->subject == "stem-client");
  REQUIRE(look.authorities.size() == 1);
  CHECK(look.authorities[0].subject == "Stem local authority");
  CHECK(look.names.ca == "STEM_TLS_CA_CERT");
  CHECK(look.unchecked.empty());
  look = look_at_tls(server.url("localhost", "sslmode=require&sslrootcert=/nowhere/ca.pem"), {});
  CHECK(look.unchecked == "sslmode=require");
  CHECK(look.authorities.empty());
  // With `require` libpq checks the chain as soon as there is something to check it by.
  look = look_at_tls(server.url("localhost", "sslmode=require&sslrootcert=" + assets().ca()), {});
  CHECK(look.unchecked.empty());
  CHECK(look.names.ca == "sslrootcert of the address");
  CHECK(look.authorities.size() == 1);

  CHECK(has_tls_to_look_at(server.url(), trusting()));
  CHECK(has_tls_to_look_at(server.url("localhost", "sslmode=require"), {}));
  CHECK_FALSE(has_tls_to_look_at(server.url(), {}));
  CHECK_FALSE(has_tls_to_look_at(server.plain(), trusting()));
}
