#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "postgres_server.hpp"
#include "redis_server.hpp"
#include "temp_dir.hpp"

/// Certificates as scripts/security/generate_tls_assets.sh makes them, and some that it never would.
class TlsAssets {
 public:
  explicit TlsAssets(const std::string& options = {}) {
    shell(std::string("sh \"$TLS_ASSETS\" --out '") + dir_.path() + "' " + options);
  }

  std::string ca() const { return dir_ / "ca.pem"; }
  std::string server() const { return dir_ / "server.pem"; }
  std::string server_key() const { return dir_ / "server-key.pem"; }
  std::string client() const { return dir_ / "client.pem"; }
  std::string client_key() const { return dir_ / "client-key.pem"; }
  std::string path(const std::string& name) const { return dir_ / name; }
  std::string file(const std::string& name, const std::string& content) const {
    return dir_.file(name, content);
  }

  /// A pair NAME.pem and NAME-key.pem for localhost with dates of its own (20250102030405Z), from an
  /// authority of its own, NAME-ca.pem, whose certificate has those of `authority_end`.
  void issue(const std::string& name, const std::string& start, const std::string& end,
             const std::string& authority_end = "20990101000000Z") const {
    const TempDir work;
    work.file(
        "ca.cnf",
        "[ca]\ndefault_ca=a\n[a]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy="
        "p\n"
        "unique_subject=no\nrand_serial=yes\n[p]\ncommonName=supplied\n[req]\ndistinguished_name=n\n[n]\n"
        "[authority]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nsubjectKeyIdentifier=hash\n"
        "[pair]\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n");
    shell("cd '" + work.path() +
          "' && exec >log 2>&1 && touch index && "
          "key() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config ca.cnf -subj "
          "\"/CN=$2\" -keyout \"$1-key.pem\" -out \"$1.csr\"; } && "
          "key ca 'Aged authority' && key pair localhost && "
          "openssl ca -batch -notext -config ca.cnf -selfsign -keyfile ca-key.pem -in ca.csr -extfile ca.cnf "
          "-extensions authority "
          "-startdate 20200101000000Z -enddate " +
          authority_end +
          " -out ca.pem && "
          "openssl ca -batch -notext -config ca.cnf -keyfile ca-key.pem -cert ca.pem -in pair.csr -extfile "
          "ca.cnf -extensions pair "
          "-startdate " +
          start + " -enddate " + end +
          " -out pair.pem && "
          "mv pair.pem '" +
          path(name + ".pem") + "' && mv pair-key.pem '" + path(name + "-key.pem") + "' && mv ca.pem '" +
          path(name + "-ca.pem") + "'");
  }

  static void shell(const std::string& line) {
    if (std::system(("{ " + line + "; } >/dev/null").c_str()) != 0)
      throw std::runtime_error("failed: " + line);
  }

 private:
  const TempDir dir_;
};

inline int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0)
    throw std::runtime_error("no free port");
  close(fd);
  return ntohs(name.sin_port);
}

/// A real redis-server with TLS on a port of 127.0.0.1.
class TlsRedis {
 public:
  explicit TlsRedis(const TlsAssets& assets, const std::string& clients = "no",
                    std::vector<std::string> more = {}, const std::string& pair = "server",
                    const std::string& ca = "ca.pem")
      : port_(free_port()), server_(options(assets, clients, std::move(more), pair, ca)) {}

  std::string url(const std::string& host = "localhost", const std::string& rest = {}) const {
    return "rediss://" + host + ":" + std::to_string(port_) + rest;
  }
  int port() const { return port_; }
  RedisServer& server() { return server_; }

 private:
  std::vector<std::string> options(const TlsAssets& assets, const std::string& clients,
                                   std::vector<std::string> more, const std::string& pair,
                                   const std::string& ca) const {
    std::vector<std::string> words{"--bind",
                                   "127.0.0.1",
                                   "--tls-port",
                                   std::to_string(port_),
                                   "--tls-cert-file",
                                   assets.path(pair + ".pem"),
                                   "--tls-key-file",
                                   assets.path(pair + "-key.pem"),
                                   "--tls-ca-cert-file",
                                   assets.path(ca),
                                   "--tls-auth-clients",
                                   clients};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  const int port_;
  RedisServer server_;
};

/// A real PostgreSQL with TLS on a port of 127.0.0.1, whom everybody else is `stem` without a password;
/// `rule` is how its pg_hba.conf lets people in who come that way.
class TlsPostgres {
 public:
  explicit TlsPostgres(const TlsAssets& assets, const std::string& rule = "hostssl all all all trust",
                       std::vector<std::string> more = {}, const std::string& pair = "server",
                       const std::string& ca = "ca.pem")
      : port_(free_port()), server_(settings(std::move(more)), files(assets, rule, pair, ca)) {}

  /// `rest` as in a URL, without the question mark.
  std::string url(const std::string& host = "localhost", const std::string& rest = {},
                  const std::string& person = "stem@") const {
    return "postgresql://" + person + host + ":" + std::to_string(port_) + "/postgres" +
           (rest.empty() ? "" : "?" + rest);
  }
  /// On the Unix socket, without TLS.
  std::string plain(const std::string& parameters = {}) const {
    return server_.url("port=" + std::to_string(port_) + (parameters.empty() ? "" : "&" + parameters));
  }
  int port() const { return port_; }
  PostgresServer& server() { return server_; }

 private:
  std::vector<std::string> settings(std::vector<std::string> more) const {
    std::vector<std::string> all{"listen_addresses=127.0.0.1", "port=" + std::to_string(port_), "ssl=on",
                                 "ssl_ca_file=ca.pem"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static std::map<std::string, std::string> files(const TlsAssets& assets, const std::string& rule,
                                                  const std::string& pair, const std::string& ca) {
    return {{"server.crt", content_of(assets.path(pair + ".pem"))},
            {"server.key", content_of(assets.path(pair + "-key.pem"))},
            {"ca.pem", content_of(assets.path(ca))},
            {"pg_hba.conf", "local all all trust\n" + rule + "\n"},
            {"pg_ident.conf", "workers stem-client stem\n"}};
  }

  const int port_;
  PostgresServer server_;
};
