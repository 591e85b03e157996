// Passwords: who can read them.

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/redaction.hpp"
#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "service/env_file.hpp"

namespace stem {
namespace {

constexpr auto section = "SECRETS";

/// The secret setting of that name whose value holds something to hide; null for others.
const Setting* secret_in(const std::string& name, const std::string& value) {
  static const auto table = settings();
  for (const auto& setting : table)
    if (setting.name == name && setting.secret && !value.empty() && setting.hides(value)) return &setting;
  return nullptr;
}

/// A file of secrets, which nobody but root and the worker should read.
Finding guarded(const Subject& s, const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return Finding::skip(path + ": " + std::strerror(errno));
  const auto group = s.account ? group_name(s.account->group) : std::string("stem");
  const auto fix = s.scope == Scope::user || !s.scope
                       ? "chmod 0600 " + path
                       : "chown root:" + group + " " + path + " && chmod 0640 " + path;
  if (status.st_mode & S_IROTH)
    return Finding::error(path + " holds a secret, and every user of this machine can read it", fix);
  if (status.st_mode & (S_IWGRP | S_IWOTH))
    return Finding::error(path + " holds a secret, and others than its owner can change it", fix);
  if (status.st_uid != 0 && s.account && status.st_uid != s.account->user)
    return Finding::error(path + " holds a secret, and belongs to " + user_name(status.st_uid), fix);
  if (status.st_mode & S_IRGRP && s.account && status.st_gid != s.account->group && status.st_gid != 0)
    return Finding::warning(
        path + " holds a secret, and the group " + group_name(status.st_gid) + " can read it", fix);
  return Finding::ok(path + " is read by nobody else");
}

Finding secret_files(const Subject& s) {
  auto all = Finding::ok("");
  for (const auto& source : s.env_files) {
    try {
      for (const auto& entry : EnvFile::read(source.path).entries)
        if (secret_in(entry.key, entry.value)) {
          all.add(guarded(s, source.path));
          break;
        }
    } catch (const Error&) {
      // The check of environment files tells.
    }
  }
  if (all.text.empty()) return Finding::ok("no environment file holds a secret");
  return all;
}

Finding exposed(const Subject& s) {
  auto all = Finding::ok("");
  const std::string fix =
      "keep it in a credential (`man stem.env`, Secrets) or in " +
      (s.scope == Scope::user ? std::string("~/.config/stem/stem.env") : std::string("/etc/stem/stem.env")) +
      ", and change it: it was seen";
  if (s.under_systemd()) {
    for (const auto& assignment : s.unit->environment) {
      const auto equals = assignment.find('=');
      if (equals != assignment.npos && secret_in(assignment.substr(0, equals), assignment.substr(equals + 1)))
        all.add(Finding::error(
            assignment.substr(0, equals) +
                " is set with a secret by Environment= of the unit: `systemctl show` tells it to every user",
            fix));
    }
    for (const auto& word : s.unit->exec_start)
      if (word.find("://") != word.npos && redacted(word) != word)
        all.add(Finding::error(
            "a command line of the unit holds a password: `ps` and `systemctl show` tell it to every user",
            fix));
  }
  if (s.config && redacted(s.config->command) != s.config->command)
    all.add(Finding::error("STEM_WORKER_COMMAND holds a password: `ps` tells it to every user",
                           "let the program read it from its environment"));
  if (all.text.empty()) all.text = "no command line or unit holds a secret";
  return all;
}

Finding credentials(const Subject& s) {
  if (!s.under_systemd()) return Finding::skip("systemd does not run this node");
  auto all = Finding::ok("");
  const auto table = settings();
  for (const auto& setting : table) {
    if (!setting.secret) continue;
    const auto id = setting.credential();
    const auto& loaded = s.unit->credentials;
    const auto credential =
        std::find_if(loaded.begin(), loaded.end(), [&](const auto& one) { return one.id == id; });
    std::string stored;
    for (const char* store : {"etc/credstore/", "run/credstore/"}) {
      struct stat status {};
      if (stat(s.at(store + id).c_str(), &status) != 0) continue;
      stored = s.at(store + id);
      if (status.st_mode & (S_IRWXG | S_IRWXO))
        all.add(Finding::error(stored + " can be read by others than root", "chmod 0600 " + stored));
      break;
    }
    // Of the scheduler only: that a worker does not get it is as it should be.
    const bool not_for_workers =
        setting.name == "STEM_SCHEDULE_STORE_URL" || setting.name == "STEM_SIGNING_PRIVATE_KEYS";
    if (credential == loaded.end() && !stored.empty() && !not_for_workers)
      all.add(Finding::error(
          stored + " is there, and the unit does not load it",
          "LoadCredential=" + id + " in a drop-in; /usr/share/stem/drop-ins/credentials.conf is one"));
    if (credential != loaded.end() && credential->path.starts_with('/') &&
        access(credential->path.c_str(), F_OK) != 0 && errno == ENOENT)
      all.add(Finding::error("the unit loads " + id + " from " + credential->path +
                                 ", which is missing: the start fails with 243/CREDENTIALS",
                             "make the file, or load it by name: LoadCredential=" + id));
    const bool used = std::find(s.from_credentials.begin(), s.from_credentials.end(), setting.name) !=
                      s.from_credentials.end();
    if (!used) continue;
    for (const auto& source : s.env_files) {
      try {
        for (const auto& entry : EnvFile::read(source.path).entries)
          if (entry.key == setting.name)
            all.add(Finding::warning(entry.key + " stands in " + source.path + ", too; the credential wins",
                                     "remove the line"));
      } catch (const Error&) {
      }
    }
    all.add(Finding::ok(std::string(setting.name) + " comes from the credential " + id));
  }
  if (all.text.empty()) all.text = "none is used";
  return all;
}

constexpr Check checks[] = {
    {"secret-files", section, secret_files},
    {"secret-exposure", section, exposed},
    {"credentials", section, credentials},
};

}  // namespace

std::span<const Check> secret_checks() {
  return checks;
}

}  // namespace stem
