#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace stem {

/// The functions of OpenSSL's libssl and libcrypto that TLS takes, by their own names. Both are loaded by the
/// first call of tls_library(), and stay: a process that speaks no TLS does without the milliseconds that
/// they take to load.
struct TlsLibrary {
// clang-format off
#define STEM_LIBSSL_FUNCTIONS(X)                                                                             \
  X(SSL_CIPHER_get_name)                                                                                     \
  X(SSL_CTX_check_private_key) X(SSL_CTX_ctrl) X(SSL_CTX_free) X(SSL_CTX_get0_certificate)                   \
      X(SSL_CTX_get_cert_store) X(SSL_CTX_load_verify_file) X(SSL_CTX_new) X(SSL_CTX_set_default_passwd_cb)  \
          X(SSL_CTX_set_default_verify_paths) X(SSL_set_verify) X(SSL_CTX_use_PrivateKey_file)               \
              X(SSL_CTX_use_certificate_chain_file) X(SSL_ctrl) X(SSL_do_handshake) X(SSL_free)              \
                  X(SSL_get0_param) X(SSL_get1_peer_certificate) X(SSL_get_current_cipher) X(SSL_get_error)  \
                      X(SSL_get_ex_data) X(SSL_get_ex_data_X509_STORE_CTX_idx) X(SSL_get_version) X(SSL_new) \
                          X(SSL_read_ex) X(SSL_set1_host) X(SSL_set_bio) X(SSL_set_connect_state)            \
                              X(SSL_set_ex_data) X(SSL_write_ex) X(TLS_client_method)
#define STEM_TLS_LIBCRYPTO_FUNCTIONS(X)                                                                   \
  X(ASN1_STRING_get0_data)                                                                                \
  X(ASN1_STRING_length) X(ASN1_TIME_to_tm) X(BIO_ctrl_pending) X(BIO_free) X(BIO_new) X(BIO_read)         \
      X(BIO_s_mem) X(BIO_write) X(ERR_clear_error) X(ERR_get_error) X(ERR_reason_error_string)            \
          X(GENERAL_NAMES_free) X(OPENSSL_sk_num) X(OPENSSL_sk_value) X(X509_STORE_CTX_get_current_cert)  \
              X(X509_STORE_CTX_get_error) X(X509_STORE_CTX_get_error_depth) X(X509_STORE_CTX_get_ex_data) \
                  X(X509_STORE_get0_objects) X(X509_OBJECT_get0_X509) X(X509_NAME_get_text_by_NID)        \
                      X(X509_VERIFY_PARAM_set1_ip_asc) X(X509_VERIFY_PARAM_set_hostflags) X(X509_free)    \
                          X(X509_get0_notAfter) X(X509_get0_notBefore) X(X509_get_ext_d2i)                \
                              X(X509_get_subject_name) X(X509_verify_cert_error_string)
// clang-format on
#define STEM_DECLARE(name) decltype(&::name) name;
  STEM_LIBSSL_FUNCTIONS(STEM_DECLARE)
  STEM_TLS_LIBCRYPTO_FUNCTIONS(STEM_DECLARE)
#undef STEM_DECLARE
};

/// Thread-safe. Throws Error (exit 78) if a library is not installed, or lacks a function.
const TlsLibrary& tls_library();

}  // namespace stem
