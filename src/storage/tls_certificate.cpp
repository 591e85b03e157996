#include "storage/tls_certificate.hpp"

#include <arpa/inet.h>

#include <ctime>
#include <memory>

#include "core/name.hpp"
#include "storage/tls_library.hpp"

namespace stem {
namespace {

WallTime time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (!tls_library().ASN1_TIME_to_tm(time, &parts)) return {};
  return WallTime{std::chrono::seconds{::timegm(&parts)}};
}

std::string address_of(std::string_view bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  if (bytes.size() == 4) inet_ntop(AF_INET, bytes.data(), text, sizeof text);
  if (bytes.size() == 16) inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
  return text;
}

}  // namespace

TlsCertificate TlsCertificate::from(const X509& certificate) {
  const auto& lib = tls_library();
  TlsCertificate facts;
  char name[256] = "";
  if (lib.X509_NAME_get_text_by_NID(lib.X509_get_subject_name(&certificate), NID_commonName, name,
                                    sizeof name) > 0)
    facts.subject = printable(name);
  facts.not_before = time_of(lib.X509_get0_notBefore(&certificate));
  facts.not_after = time_of(lib.X509_get0_notAfter(&certificate));
  const std::unique_ptr<GENERAL_NAMES, decltype(lib.GENERAL_NAMES_free)> all(
      static_cast<GENERAL_NAMES*>(lib.X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)),
      lib.GENERAL_NAMES_free);
  const auto* stack = reinterpret_cast<const OPENSSL_STACK*>(all.get());
  for (int i = 0; all && i < lib.OPENSSL_sk_num(stack); ++i) {
    const auto* one = static_cast<const GENERAL_NAME*>(lib.OPENSSL_sk_value(stack, i));
    if (one->type != GEN_DNS && one->type != GEN_IPADD) continue;
    const auto* value =
        static_cast<const ASN1_STRING*>(one->type == GEN_DNS ? one->d.dNSName : one->d.iPAddress);
    const std::string bytes(reinterpret_cast<const char*>(lib.ASN1_STRING_get0_data(value)),
                            static_cast<std::size_t>(lib.ASN1_STRING_length(value)));
    facts.names.push_back(one->type == GEN_DNS ? printable(bytes) : address_of(bytes));
  }
  return facts;
}

}  // namespace stem
