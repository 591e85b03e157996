#include "storage/open.hpp"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stem/error.hpp>
#include <vector>

#include "storage/memory.hpp"
#include "storage/postgres.hpp"
#include "storage/redis.hpp"
#include "storage/sqlite.hpp"
#include "storage/url.hpp"

namespace stem {
namespace {

constexpr const char* service_state = "/var/lib/stem";

std::string value_of(const Environment& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

/// A path in a URL: what would end it, or start an escape, is escaped.
std::string in_url(const std::string& path) {
  std::string text;
  for (const char c : path) {
    if (c == '%' || c == '?')
      text += c == '%' ? "%25" : "%3F";
    else
      text += c;
  }
  return text;
}

Environment process_environment() {
  Environment environment;
  for (const char* name : {"HOME", "STATE_DIRECTORY", "XDG_STATE_HOME"})
    if (const char* value = std::getenv(name)) environment[name] = value;
  return environment;
}

/// Root's first command must not lock the service's own account out of its state: the directory becomes what
/// the units' StateDirectory= and StateDirectoryMode= would have made it, where that account exists.
void hand_over(const std::string& directory) {
  if (::geteuid() != 0) return;
  passwd entry{};
  passwd* account = nullptr;
  std::vector<char> buffer(16384);
  if (::getpwnam_r("stem", &entry, buffer.data(), buffer.size(), &account) != 0 || account == nullptr) return;
  if (::chown(directory.c_str(), account->pw_uid, account->pw_gid) != 0 ||
      ::chmod(directory.c_str(), 02770) != 0)
    throw Error(Exit::cannot_create,
                "cannot hand directory " + directory + " to user stem: " + std::strerror(errno));
}

/// Only for the embedded default, which nobody wrote down and so nobody made room for: a person's state
/// directory with all that leads to it (0700, as the XDG base directory specification asks), or the last
/// level of the service's.
void make_room_for(const std::string& database) {
  const auto directory = database.substr(0, database.rfind('/'));
  const bool service = directory.starts_with(service_state);
  for (std::size_t slash = service ? directory.rfind('/') : 0; slash != std::string::npos;) {
    slash = directory.find('/', slash + 1);
    const auto level = directory.substr(0, slash);
    const bool made = ::mkdir(level.c_str(), service ? 0750 : 0700) == 0;
    if (made && level == service_state) hand_over(level);
    if (made || errno == EEXIST) continue;
    throw Error(errno == EACCES || errno == EPERM ? Exit::no_permission : Exit::cannot_create,
                "cannot create directory " + level + " for the default database: " + std::strerror(errno) +
                    "; create it, or name another place in STEM_BROKER_URL");
  }
}

Storage open_one(const std::string& text, const TlsConfig& tls, const Clock& clock) {
  auto chosen = text;
  if (chosen.empty()) {
    chosen = default_url(process_environment());
    make_room_for(Url::parse(chosen).location);
  }
  const auto url = Url::parse(chosen);
  if (url.scheme == "sqlite") return open_sqlite(url, clock);
  if (url.scheme == "memory") {
    if (url.location.empty() || !url.parameters.empty())
      throw Error(Exit::config, "a memory:// address is memory:// and a name, without parameters");
    return open_memory(url.location, clock);
  }
  if (url.scheme == "redis" || url.scheme == "rediss" || url.scheme == "redis+socket")
    return open_redis(url, tls, clock);
  if (url.scheme == "postgres" || url.scheme == "postgresql" || url.scheme == "postgres+ssl" ||
      url.scheme == "postgresql+ssl")
    return open_postgres(url, tls, clock);
  throw Error(
      Exit::config,
      "no broker or result backend is called '" + url.scheme +
          "://'; there are sqlite://, redis://, rediss://, redis+socket://, postgresql:// and memory://");
}

}  // namespace

std::string default_url(const Environment& environment) {
  const auto home = value_of(environment, "HOME");
  auto state = value_of(environment, "STATE_DIRECTORY");
  state = state.substr(0, state.find(':'));
  // The state directory that systemd hands to a system service; a user's services share the person's
  // database.
  if (!state.starts_with("/var/lib/")) state.clear();
  if (state.empty() && (::geteuid() == 0 || home == service_state)) state = service_state;
  if (state.empty() && value_of(environment, "XDG_STATE_HOME").starts_with('/'))
    state = value_of(environment, "XDG_STATE_HOME") + "/stem";
  if (state.empty() && home.starts_with('/')) state = home + "/.local/state/stem";
  if (state.empty())
    throw Error(Exit::config,
                "there is no place for the default database: neither XDG_STATE_HOME nor HOME is set; "
                "set STEM_BROKER_URL");
  return "sqlite://" + in_url(state) + "/stem.db";
}

Storage open_storage(const Config& config, const Clock& clock) {
  auto storage = open_one(config.broker_url, config.tls, clock);
  const auto& results = config.result_backend_url.empty() ? config.broker_url : config.result_backend_url;
  const auto& orders = config.revoke_store_url.empty() ? results : config.revoke_store_url;
  if (orders == config.broker_url)
    storage.orders = storage.results;
  else if (orders != results)
    storage.orders = open_one(orders, config.tls, clock).results;
  if (results != config.broker_url) storage.results = open_one(results, config.tls, clock).results;
  return storage;
}

}  // namespace stem
