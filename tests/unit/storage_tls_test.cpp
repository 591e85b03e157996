#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "storage/postgres_tls.hpp"
#include "storage/redis_connection.hpp"
#include "storage/tls_warnings.hpp"
#include "storage_rig.hpp"
#include "tls_asking.hpp"

using namespace stem;
using namespace std::chrono_literals;

// TLS to real servers: who is trusted, who is not, and what is said of it.

namespace {

struct Connection {
  Connection(const std::string& url, const TlsConfig& tls) : address(RedisAddress::from(Url::parse(url))) {
    address.tls = std::make_shared<TlsContext>(tls);
    connection = std::make_unique<RedisConnection>(address);
  }
  std::string ask(const RedisCommand& command) {
    std::string bytes;
    command.append_to(bytes);
    connection->send(bytes);
    return std::string(connection->receive()->text);
  }
  RedisAddress address;
  std::unique_ptr<RedisConnection> connection;
};

/// Listens, accepts, and says nothing but `greeting`.
class Silent {
 public:
  explicit Silent(std::string greeting = {}) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&name), size) != 0 || ::listen(fd_, 8) != 0)
      throw std::runtime_error("listen");
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size);
    port_ = ntohs(name.sin_port);
    thread_ = std::thread([this, greeting = std::move(greeting)] {
      std::vector<int> open;
      while (readable(fd_, 20) || !done_) {
        if (!readable(fd_)) continue;
        open.push_back(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
        if (!greeting.empty()) (void)!::send(open.back(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
      }
      for (const int one : open) ::close(one);
    });
  }
  ~Silent() {
    done_ = true;
    thread_.join();
    ::close(fd_);
  }
  std::string url(const std::string& rest) const {
    return "rediss://127.0.0.1:" + std::to_string(port_) + rest;
  }

 private:
  int fd_ = -1;
  int port_ = 0;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace

TEST_CASE("tls: a server is reached by each name in its certificate, and by nothing older than TLS 1.2") {
  const TlsRedis redis(assets());
  CHECK(asking(redis.url("localhost"), trusting()).status == 0);
  CHECK(asking(redis.url("127.0.0.1"), trusting()).status == 0);
  Connection connection(redis.url(), trusting());
  REQUIRE(connection.connection->tls());
  CHECK(connection.connection->tls()->version() == "TLSv1.3");
  CHECK(connection.connection->tls()->peer().names ==
        std::vector<std::string>{"localhost", "127.0.0.1", "::1", "db.example"});
  CHECK(connection.connection->tls()->peer().not_after > Clock::system().wall() + std::chrono::days{364});

  const TlsRedis older(assets(), "no", {"--tls-protocols", "TLSv1.2"});
  CHECK(Connection(older.url(), trusting()).connection->tls()->version() == "TLSv1.2");
  const TlsRedis oldest(assets(), "no", {"--tls-protocols", "TLSv1.1", "--tls-ciphers", "ALL:@SECLEVEL=0"});
  fails(oldest.url(), trusting(), 78, {"speaks no TLS from version 1.2 on"});
}

TEST_CASE("tls: long commands and long replies come through whole, in pieces") {
  const TlsRedis redis(assets());
  Connection connection(redis.url(), trusting());
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i) text += std::to_string(i) + "\r\n";
  CHECK(connection.ask({"SET", "key", text}) == "OK");
  CHECK(connection.ask({"GET", "key"}) == text);
  CHECK_FALSE(connection.connection->is_stale());
}

TEST_CASE("tls: an authority that is not trusted, ours named or the system's") {
  const TlsRedis redis(assets());
  const TlsAssets other;
  fails(redis.url(), trusting(other.ca()), 78,
        {"authority that is not trusted", "STEM_TLS_CA_CERT (" + other.ca() + ")"});
  fails(redis.url(), TlsConfig{}, 78,
        {"STEM_TLS_CA_CERT is not set, so the system's authorities are trusted"});
  // A client's certificate alone leaves it at the system's authorities; here they are ours.
  setenv("SSL_CERT_FILE", assets().ca().c_str(), 1);
  auto config = with_client();
  config.ca_cert.clear();
  CHECK(asking(redis.url(), config).status == 0);
  unsetenv("SSL_CERT_FILE");
}

TEST_CASE(
    "tls: a certificate for another host, expired, not valid yet, or of an authority that has expired") {
  const TlsAssets foreign("--host db.example --host 10.9.8.7");
  const TlsRedis elsewhere(foreign);
  fails(elsewhere.url("localhost"), trusting(foreign.ca()), 78,
        {"is for db.example, 10.9.8.7, not for localhost", "STEM_BROKER_URL", "STEM_TLS_ALLOW_INSECURE"});
  fails(elsewhere.url("127.0.0.1"), trusting(foreign.ca()), 78, {"not for 127.0.0.1"});

  const auto& own = assets();
  own.issue("old", "20200101000000Z", "20200201000000Z");
  own.issue("young", "20980101000000Z", "20980201000000Z");
  own.issue("aged", "20200101000000Z", "20980101000000Z", "20210101000000Z");
  const TlsRedis old(own, "no", {}, "old", "old-ca.pem"), young(own, "no", {}, "young", "young-ca.pem"),
      aged(own, "no", {}, "aged", "aged-ca.pem");
  fails(old.url(), trusting(own.path("old-ca.pem")), 69,
        {"its certificate 'localhost' expired at 2020-02-01T00:00:00.000Z", "renew",
         "STEM_TLS_ALLOW_INSECURE"});
  fails(young.url(), trusting(own.path("young-ca.pem")), 69,
        {"not valid before 2098-01-01T00:00:00.000Z", "clock", "STEM_TLS_ALLOW_INSECURE"});
  fails(aged.url(), trusting(own.path("aged-ca.pem")), 69,
        {"the authority 'Aged authority'", "expired at 2021-01-01", "STEM_TLS_CA_CERT"});
}

TEST_CASE("tls: STEM_TLS_ALLOW_INSECURE takes any server, and is warned of") {
  const TlsAssets foreign("--host db.example");
  const TlsRedis redis(foreign);
  TlsConfig config;
  config.allow_insecure = true;
  CHECK(asking(redis.url(), config).status == 0);
  REQUIRE(tls_warnings(config).size() == 1);
  CHECK(tls_warnings(config)[0].find("STEM_TLS_ALLOW_INSECURE is on") == 0);
  CHECK(tls_warnings({}).empty());
}

TEST_CASE(
    "tls: a server that asks for a client's certificate gets it; one without, or with another's, is told") {
  const TlsAssets other;
  for (const auto* protocol : {"TLSv1.3", "TLSv1.2"}) {
    CAPTURE(protocol);
    const TlsRedis redis(assets(), "yes", {"--tls-protocols", protocol});
    CHECK(asking(redis.url(), with_client()).status == 0);
    for (int i = 0; i < 5; ++i) {  // whether we still write when it hangs up is a matter of chance
      fails(redis.url(), trusting(), 77,
            {"asks for a client's certificate", "STEM_TLS_CLIENT_CERT", "STEM_TLS_CLIENT_KEY"});
      fails(
          redis.url(), with_client(other), 77,
          {"does not accept the certificate in STEM_TLS_CLIENT_CERT (" + other.client() + ")", "unknown ca"});
    }
  }
}

TEST_CASE("tls: a server without TLS behind rediss://, and one with it behind redis://") {
  const RedisServer plain({"--port", std::to_string(free_port()), "--bind", "127.0.0.1"});
  Config config = config_of(plain.url(), {});
  const int port = free_port();
  const RedisServer open({"--port", std::to_string(port), "--bind", "127.0.0.1"});
  const auto began = std::chrono::steady_clock::now();
  fails("rediss://localhost:" + std::to_string(port), trusting(), 78,
        {"does not speak TLS at that port", "redis://", "STEM_BROKER_URL"});
  CHECK(std::chrono::steady_clock::now() - began < 4500ms);  // not the 5 s after which nobody waits any more
  const Silent web("HTTP/1.1 400 Bad Request\r\n\r\n");
  fails(web.url(""), trusting(), 78, {"does not speak TLS"});

  const TlsRedis secure(assets());
  fails("redis://localhost:" + std::to_string(secure.port()), trusting(), 78,
        {"speaks TLS at that port", "rediss://", "STEM_BROKER_URL"});
}

TEST_CASE("tls: a handshake that goes nowhere ends in time") {
  const Silent silent;
  const auto began = std::chrono::steady_clock::now();
  fails(silent.url("?timeout=300ms"), trusting(), 69, {"no answer to the TLS handshake within 300ms"});
  CHECK(std::chrono::steady_clock::now() - began >= 300ms);
  CHECK(std::chrono::steady_clock::now() - began < 5s);
}

TEST_CASE(
    "tls: files that are missing, locked, or something else are told by variable and path when they are "
    "opened") {
  const TlsAssets other;
  const auto refused = [](const TlsConfig& config, int status, const std::vector<std::string>& parts) {
    is_not_opened("rediss://localhost:1", config, status, parts);
  };
  auto config = with_client();
  config.ca_cert = "/nowhere/ca.pem";
  refused(config, 66, {"STEM_TLS_CA_CERT (/nowhere/ca.pem) cannot be read: No such file"});
  config = with_client();
  config.ca_cert = "/tmp";
  refused(config, 78, {"STEM_TLS_CA_CERT (/tmp) is not a file"});
  config.ca_cert = assets().file("text.pem", "hello\n");
  refused(config, 78, {"STEM_TLS_CA_CERT", "holds no certificate in PEM form"});
  config = with_client();
  config.client_cert = assets().path("text.pem");
  refused(config, 78, {"STEM_TLS_CLIENT_CERT", "holds no certificate in PEM form"});
  config = with_client();
  config.client_key = assets().path("text.pem");
  refused(config, 78, {"STEM_TLS_CLIENT_KEY", "holds no private key in PEM form"});
  config.client_key = other.client_key();
  refused(config, 78,
          {"STEM_TLS_CLIENT_KEY (" + other.client_key() +
           ") is not the key of the certificate in STEM_TLS_CLIENT_CERT"});
  TlsAssets::shell("openssl genrsa -out '" + assets().path("rsa.pem") + "' 2048 2>/dev/null");
  config.client_key = assets().path("rsa.pem");
  refused(config, 78, {"is not the key of the certificate"});
  TlsAssets::shell("openssl pkey -in '" + assets().client_key() + "' -aes256 -passout pass:x -out '" +
                   assets().path("locked.pem") + "'");
  config.client_key = assets().path("locked.pem");
  refused(config, 78, {"STEM_TLS_CLIENT_KEY", "passphrase"});
  if (geteuid() != 0) {
    config = with_client();
    config.client_key = assets().file("shut.pem", "");
    chmod(config.client_key.c_str(), 0);
    refused(config, 77, {"STEM_TLS_CLIENT_KEY", "Permission denied"});
  }
  config = with_client();
  config.client_key.clear();
  refused(config, 78, {"STEM_TLS_CLIENT_CERT is set, but STEM_TLS_CLIENT_KEY is not"});
  // Who does not use TLS does not read them, either.
  CHECK(error_of([&] { open_storage(config_of("redis://localhost:1", config)); }).status == 0);
}

TEST_CASE("tls: a key that everybody can read is warned of") {
  auto config = with_client();
  CHECK(tls_warnings(config).empty());
  config.client_key = assets().file("open.pem", content_of(config.client_key));
  chmod(config.client_key.c_str(), 0644);
  REQUIRE(tls_warnings(config).size() == 1);
  CHECK(tls_warnings(config)[0].find("STEM_TLS_CLIENT_KEY (" + config.client_key + ") is open") == 0);
}

TEST_CASE("tls: renewed files are used by the next connection, and half-renewed ones are not") {
  const TlsAssets old, fresh, mine;
  for (const auto* name : {"ca.pem", "client.pem", "client-key.pem"})
    mine.file(name, content_of(old.path(name)));
  auto config = with_client(mine);
  config.ca_cert = mine.ca();
  const auto context = std::make_shared<TlsContext>(config);
  const auto first = context->current();
  CHECK(context->current() == first);
  mine.file("client.pem",
            content_of(fresh.client()) + "\n");  // another size: the clock of a file system is coarse
  CHECK(context->current() == first);
  mine.file("client-key.pem", content_of(fresh.client_key()) + "\n");
  CHECK(context->current() != first);
  CHECK(context->client()->subject == "stem-client");
  REQUIRE(context->authorities().size() == 1);
  CHECK(context->authorities()[0].subject == "Stem local authority");
}

TEST_CASE("tls: what was right once and is not any more passes; it does not end a worker") {
  const TlsAssets own, other;
  TlsRedis redis(own);
  outlives_a_change(redis.url(), trusting(own.ca()), [&] {
    redis.server().stop(SIGKILL);
    for (const auto* name : {"server.pem", "server-key.pem"}) own.file(name, content_of(other.path(name)));
    redis.server().start();
  });
}

TEST_CASE("tls: a waiting worker is woken through TLS") {
  TlsRedis redis(assets(), "yes");
  is_woken(redis.url(), StorageRig(redis.server().url()));
}

TEST_CASE("tls: STEM_TLS_* become libpq's parameters, and what the address says stays") {
  using Options = std::map<std::string, std::string>;
  TlsConfig config;
  CHECK(postgres_tls(config, {}, "/system") == Options{});
  config.ca_cert = "/ca";
  CHECK(postgres_tls(config, {}, "/system") == Options{{"sslmode", "verify-full"}, {"sslrootcert", "/ca"}});
  CHECK(postgres_tls(config, {{"sslmode", "verify-ca"}}, "/system") == Options{{"sslrootcert", "/ca"}});
  CHECK(postgres_tls(config, {{"sslmode", "require"}}, "/system") == Options{});
  CHECK(postgres_tls(config, {{"sslmode", "disable"}}, "/system") == Options{});
  CHECK(postgres_tls(config, {{"sslrootcert", "/other"}}, "/system") == Options{{"sslmode", "verify-full"}});
  config.client_cert = "/cert";
  config.client_key = "/key";
  CHECK(
      postgres_tls(config, {}, "/system") ==
      Options{{"sslmode", "verify-full"}, {"sslrootcert", "/ca"}, {"sslcert", "/cert"}, {"sslkey", "/key"}});
  CHECK(postgres_tls(config, {{"sslkey", "/mine"}}, "/system") ==
        Options{{"sslmode", "verify-full"}, {"sslrootcert", "/ca"}});
  // A pair alone leaves it at the system's authorities.
  config.ca_cert.clear();
  CHECK(postgres_tls(config, {}, "/system") == Options{{"sslmode", "verify-full"},
                                                       {"sslrootcert", "/system"},
                                                       {"sslcert", "/cert"},
                                                       {"sslkey", "/key"}});
  config = {};
  config.allow_insecure = true;
  CHECK(postgres_tls(config, {}, "/system").at("sslmode") == "require");
  CHECK(postgres_tls(config, {{"sslmode", "verify-full"}, {"sslrootcert", "/ca"}}, "/system").at("sslmode") ==
        "require");
  CHECK_FALSE(
      std::filesystem::exists(postgres_tls(config, {{"sslrootcert", "/ca"}}, "/system").at("sslrootcert")));
}
