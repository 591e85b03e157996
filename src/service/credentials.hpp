#pragma once

#include <stem/config.hpp>
#include <string>

namespace stem {

/// The secrets that systemd hands to a unit as files (systemd.exec(5), LoadCredential=): each setting of the
/// table that is a secret may come as `$CREDENTIALS_DIRECTORY/stem.NAME`. They are kept out of the
/// environment, which children inherit and other processes of the user can read.

/// `environment` with every credential that is there in the place of its variable: a credential wins over
/// variables and environment files, since only the administrator can have made it, and a plain text that was
/// left behind must not win over it. For Config::from() only, not for handing on. Throws Error: 77 it may not
/// be read, 78 it is no text of at most 1 MiB.
Environment with_credentials(const Environment& environment);

/// The text of one credential's file, without the line break at its end. Throws Error as with_credentials(),
/// and 66 if it is missing. Messages name the file, never what is in it.
std::string read_credential(const std::string& path);

}  // namespace stem
