#pragma once

#include <stem/config.hpp>
#include <stem/error.hpp>
#include <string>

#include "diagnosis/check.hpp"

namespace stem {

/// Judges the TLS to the broker or result backend at `url`: chain, host name, and whether a certificate ends
/// soon, the server's, ours or the authority's. Skipped if the address has none. Connects.
Finding judge_tls(const std::string& url, const TlsConfig& tls, WallTime now);

/// Judges the keys: which one signs, which others are taken, one that is too short. Skipped if there are
/// none. Loads OpenSSL if there are.
Finding judge_signing(const SigningConfig& signing);

/// An Error as a finding: what stands after its last semicolon is the fix.
Finding finding_of(const Error& error);

}  // namespace stem
