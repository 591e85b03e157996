#include "storage/tls_context.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

#include "core/descriptor.hpp"
#include "core/name.hpp"
#include "storage/tls_library.hpp"

namespace stem {
namespace {

std::string named(const std::string& variable, const std::string& path) {
  return std::string(variable) + " (" + printable(path) + ")";
}

/// OpenSSL tells neither the path nor why.
void require_readable(const std::string& variable, const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const int why = errno;
  if (!file)
    throw Error(why == ENOENT || why == ENOTDIR ? Exit::no_input
                : why == EACCES || why == EPERM ? Exit::no_permission
                                                : Exit::config,
                named(variable, path) + " cannot be read: " + std::strerror(why) +
                    (why == EACCES ? "; let the worker's user read it: chgrp stem and chmod 0640"
                                   : "; name the file as this machine has it"));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    throw Error(Exit::config, named(variable, path) + " is not a file; name one in PEM form");
}

[[noreturn]] void not_pem(const std::string& variable, const std::string& path, const char* what) {
  throw Error(Exit::config, named(variable, path) + " holds no " + what +
                                " in PEM form; it begins with a line like -----BEGIN " +
                                (std::strcmp(what, "certificate") == 0 ? "CERTIFICATE" : "PRIVATE KEY") +
                                "-----");
}

thread_local bool asked_for_passphrase = false;
/// Nobody is there to type one; without this OpenSSL would ask the terminal.
int no_passphrase(char*, int, int, void*) {
  asked_for_passphrase = true;
  return -1;
}

void use_client(SSL_CTX* context, const TlsConfig& config, const TlsNames& names) {
  const auto& lib = tls_library();
  require_readable(names.client_cert, config.client_cert);
  if (lib.SSL_CTX_use_certificate_chain_file(context, config.client_cert.c_str()) != 1)
    not_pem(names.client_cert, config.client_cert, "certificate");
  require_readable(names.client_key, config.client_key);
  asked_for_passphrase = false;
  lib.ERR_clear_error();
  if (lib.SSL_CTX_use_PrivateKey_file(context, config.client_key.c_str(), SSL_FILETYPE_PEM) == 1 &&
      lib.SSL_CTX_check_private_key(context) == 1)
    return;
  if (asked_for_passphrase)
    throw Error(
        Exit::config,
        named(names.client_key, config.client_key) +
            " is protected by a passphrase, which nobody types for a service; `openssl pkey` removes it");
  while (const auto error = lib.ERR_get_error()) {
    const bool of_pair = ERR_GET_LIB(error) == ERR_LIB_X509 || ERR_GET_LIB(error) == ERR_LIB_SSL;
    const int reason = ERR_GET_REASON(error);
    if (of_pair && (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH ||
                    reason == SSL_R_NO_CERTIFICATE_ASSIGNED || reason == SSL_R_NO_PRIVATE_KEY_ASSIGNED))
      throw Error(Exit::config, named(names.client_key, config.client_key) +
                                    " is not the key of the certificate in " +
                                    named(names.client_cert, config.client_cert) +
                                    "; name the two that were made together");
  }
  not_pem(names.client_key, config.client_key, "private key");
}

}  // namespace

TlsContext::TlsContext(const TlsConfig& config, TlsNames names) : config_(config), names_(std::move(names)) {
  config_.validate();
  print_ = print();
  context_ = load();
}

TlsContext::Print TlsContext::print() const {
  Print print;
  const std::string* const paths[] = {&config_.ca_cert, &config_.client_cert, &config_.client_key};
  for (std::size_t i = 0; i < print.size(); ++i) {
    struct stat status {};
    if (paths[i]->empty() || ::stat(paths[i]->c_str(), &status) != 0) continue;
    for (const auto part :
         {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
          static_cast<std::int64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec})
      print[i] += std::to_string(part) + " ";
  }
  return print;
}

std::shared_ptr<SSL_CTX> TlsContext::load() const {
  const auto& lib = tls_library();
  lib.ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(lib.SSL_CTX_new(lib.TLS_client_method()), lib.SSL_CTX_free);
  if (!context) throw Error(Exit::software, "OpenSSL makes no context for TLS");
  lib.SSL_CTX_ctrl(context.get(), SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, nullptr);
  lib.SSL_CTX_ctrl(context.get(), SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, nullptr);
  lib.SSL_CTX_set_default_passwd_cb(context.get(), no_passphrase);
  if (config_.ca_cert.empty()) {
    lib.SSL_CTX_set_default_verify_paths(context.get());
  } else {
    require_readable(names_.ca, config_.ca_cert);
    if (lib.SSL_CTX_load_verify_file(context.get(), config_.ca_cert.c_str()) != 1)
      not_pem(names_.ca, config_.ca_cert, "certificate");
  }
  if (!config_.client_cert.empty()) use_client(context.get(), config_, names_);
  lib.ERR_clear_error();
  return context;
}

std::shared_ptr<SSL_CTX> TlsContext::current() {
  const std::lock_guard lock(mutex_);
  if (auto now = print(); now != print_) {
    try {
      context_ = load();
      print_ = std::move(now);
    } catch (const Error&) {
      // A pair of which one file is new and one is not yet: the next connection looks again.
    }
  }
  return context_;
}

std::optional<TlsCertificate> TlsContext::client() {
  const auto context = current();
  const auto* const certificate = tls_library().SSL_CTX_get0_certificate(context.get());
  return certificate ? std::optional(TlsCertificate::from(*certificate)) : std::nullopt;
}

std::vector<TlsCertificate> TlsContext::authorities() {
  const auto& lib = tls_library();
  const auto context = current();
  std::vector<TlsCertificate> all;
  const auto* const objects = reinterpret_cast<const OPENSSL_STACK*>(
      lib.X509_STORE_get0_objects(lib.SSL_CTX_get_cert_store(context.get())));
  for (int i = 0; !config_.ca_cert.empty() && i < lib.OPENSSL_sk_num(objects); ++i)
    if (const auto* one =
            lib.X509_OBJECT_get0_X509(static_cast<const X509_OBJECT*>(lib.OPENSSL_sk_value(objects, i))))
      all.push_back(TlsCertificate::from(*one));
  return all;
}

}  // namespace stem
