#include "storage/tls_fault.hpp"

#include "core/name.hpp"
#include "storage/tls_library.hpp"

namespace stem {
namespace {

constexpr const char* while_debugging =
    "; STEM_TLS_ALLOW_INSECURE=true does without the check while you debug";

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string in_quotes(const TlsCertificate& certificate) {
  return certificate.subject.empty() ? std::string() : " '" + certificate.subject + "'";
}

Error expired(const TlsConfig& config, const TlsNames& names, const TlsVerdict& verdict) {
  const auto ended = " expired at " + format_time(verdict.certificate.not_after);
  if (verdict.depth == 0)
    return Error(Exit::unavailable, "its certificate" + in_quotes(verdict.certificate) + ended +
                                        "; renew it on the server" + while_debugging);
  return Error(Exit::unavailable, "the authority" + in_quotes(verdict.certificate) + " of its certificate" +
                                      ended + "; renew it, and put the new one into " + names.ca +
                                      (config.ca_cert.empty() ? "" : " (" + printable(config.ca_cert) + ")"));
}

Error not_for(const std::string& host, const TlsCertificate& certificate) {
  if (certificate.names.empty())
    return Error(Exit::config, "its certificate" + in_quotes(certificate) +
                                   " names no host at all; have it made with the alternative name " + host +
                                   while_debugging);
  return Error(Exit::config,
               "its certificate is for " + listed(certificate.names) + ", not for " + host +
                   "; write one of those names into the address (STEM_BROKER_URL), or have it made for " +
                   host + while_debugging);
}

Error distrusted(const TlsConfig& config, const TlsNames& names, const TlsVerdict& verdict) {
  const auto trusted = config.ca_cert.empty()
                           ? names.ca + " is not set, so the system's authorities are trusted"
                           : "those in " + names.ca + " (" + printable(config.ca_cert) + ") are";
  return Error(Exit::config, std::string("its certificate comes from an authority that is not trusted (") +
                                 tls_library().X509_verify_cert_error_string(verdict.code) + "): " + trusted +
                                 "; put the certificate of the server's authority into " + names.ca);
}

Error untrue(const TlsConfig& config, const TlsNames& names, const std::string& host,
             const TlsVerdict& verdict) {
  switch (verdict.code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return expired(config, names, verdict);
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Error(Exit::unavailable,
                   "its certificate" + in_quotes(verdict.certificate) + " is not valid before " +
                       format_time(verdict.certificate.not_before) + ", and this machine's clock says " +
                       format_time(Clock::system().wall()) + "; set the clock that is wrong" +
                       while_debugging);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return not_for(host, verdict.certificate);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED:
      return distrusted(config, names, verdict);
    default:
      return Error(Exit::config, "its certificate" + in_quotes(verdict.certificate) + " is not accepted: " +
                                     tls_library().X509_verify_cert_error_string(verdict.code) +
                                     "; have it made anew, by an authority of " + names.ca);
  }
}

/// The server has ended the handshake, and said why by the number of an alert.
Error refused(const TlsConfig& config, const TlsNames& names, int alert, const std::string& word) {
  const bool shown = !config.client_cert.empty();
  switch (alert) {
    case TLS1_AD_PROTOCOL_VERSION:
      return Error(Exit::config,
                   "it speaks no TLS from version 1.2 on; let it, for Stem speaks nothing older");
    case SSL3_AD_HANDSHAKE_FAILURE:
      if (shown) break;
      [[fallthrough]];
    case TLS13_AD_CERTIFICATE_REQUIRED:
      return tls_client_wanted(names);
    case SSL3_AD_BAD_CERTIFICATE:
    case SSL3_AD_UNSUPPORTED_CERTIFICATE:
    case SSL3_AD_CERTIFICATE_REVOKED:
    case SSL3_AD_CERTIFICATE_EXPIRED:
    case SSL3_AD_CERTIFICATE_UNKNOWN:
    case TLS1_AD_UNKNOWN_CA:
    case TLS1_AD_ACCESS_DENIED:
    case TLS1_AD_DECRYPT_ERROR:
      if (!shown) break;
      return Error(Exit::no_permission,
                   "it does not accept the certificate in " + names.client_cert + " (" +
                       printable(config.client_cert) + "): " + word +
                       "; name one that is valid, and comes from an authority that the server trusts");
    default:
      break;
  }
  return Error(Exit::unavailable, "it ended the TLS handshake: " + word + "; its log may tell more");
}

}  // namespace

Error tls_client_wanted(const TlsNames& names) {
  return Error(Exit::no_permission, "it asks for a client's certificate; name one that it accepts in " +
                                        names.client_cert + ", and its key in " + names.client_key);
}

Error tls_not_spoken() {
  return Error(Exit::config,
               "it does not speak TLS at that port; write redis:// into the address (STEM_BROKER_URL), or "
               "name the port on which the server has TLS");
}

Error tls_fault(const TlsConfig& config, const TlsNames& names, const std::string& host,
                const std::optional<TlsVerdict>& verdict, unsigned long reason) {
  if (verdict && verdict->code != X509_V_OK) return untrue(config, names, host, *verdict);
  const int number = ERR_GET_REASON(reason);
  const char* const text = reason ? tls_library().ERR_reason_error_string(reason) : nullptr;
  const std::string word = text ? text : "no reason was given";
  if (ERR_GET_LIB(reason) == ERR_LIB_SSL) {
    if (number > SSL_AD_REASON_OFFSET) return refused(config, names, number - SSL_AD_REASON_OFFSET, word);
    if (number == SSL_R_WRONG_VERSION_NUMBER || number == SSL_R_HTTP_REQUEST ||
        number == SSL_R_PACKET_LENGTH_TOO_LONG)
      return tls_not_spoken();
    if (number == SSL_R_UNSUPPORTED_PROTOCOL) return refused(config, names, TLS1_AD_PROTOCOL_VERSION, word);
  }
  return Error(Exit::unavailable, "TLS came to nothing: " + word + "; its log may tell more");
}

}  // namespace stem
