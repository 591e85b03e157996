#include "diagnosis/account.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "core/descriptor.hpp"

namespace stem {
namespace {

std::optional<unsigned> number_in(const std::string& text) {
  unsigned number = 0;
  const auto end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc{} || rest != end) return std::nullopt;
  return number;
}

bool become(const Account& account) {
  if (account.is_self()) return true;
  return initgroups(account.name.c_str(), account.group) == 0 &&
         setresgid(account.group, account.group, account.group) == 0 &&
         setresuid(account.user, account.user, account.user) == 0;
}

/// In the child. One byte that says what follows, then the exit status of an Error, then text.
[[noreturn]] void report(int fd, const Account& account, const std::function<std::string()>& work) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  std::string words = "i";
  if (become(account)) {
    try {
      words = "r" + work();
    } catch (const Error& error) {
      words = std::string("f") + static_cast<char>(error.code()) + error.what();
    } catch (const std::exception& error) {
      words = std::string("f") + static_cast<char>(Exit::software) + error.what();
    }
  }
  for (std::string_view left = words; !left.empty();) {
    const auto count = write(fd, left.data(), left.size());
    if (count <= 0) break;
    left.remove_prefix(static_cast<std::size_t>(count));
  }
  // No destructors: the parent's are in here as well.
  _exit(0);
}

}  // namespace

std::string user_name(uid_t user) {
  const auto* entry = getpwuid(user);
  return entry ? entry->pw_name : std::to_string(user);
}

std::string group_name(gid_t group) {
  const auto* entry = getgrgid(group);
  return entry ? entry->gr_name : std::to_string(group);
}

Account Account::self() {
  const auto* entry = getpwuid(geteuid());
  return {geteuid(), getegid(), user_name(geteuid()), entry ? entry->pw_dir : ""};
}

std::optional<Account> Account::named(const std::string& user, const std::string& group) {
  const auto* entry = getpwnam(user.c_str());
  if (const auto number = number_in(user); !entry && number) entry = getpwuid(*number);
  if (!entry) return std::nullopt;
  Account account{entry->pw_uid, entry->pw_gid, entry->pw_name, entry->pw_dir};
  if (group.empty()) return account;
  const auto* own = getgrnam(group.c_str());
  if (const auto number = number_in(group); !own && number) own = getgrgid(*number);
  if (!own) return std::nullopt;
  account.group = own->gr_gid;
  return account;
}

bool Account::is_self() const {
  return user == geteuid() && (user == 0 || group == getegid());
}
bool Account::can_be_tried() const {
  return user == geteuid() || geteuid() == 0;
}

Trial try_as(const Account& account, Duration limit, const std::function<std::string()>& work) {
  int ends[2];
  if (!account.can_be_tried() || pipe2(ends, O_CLOEXEC) != 0) return {};
  Descriptor from(ends[0]), to(ends[1]);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const pid_t child = fork();
  if (child < 0) return {};
  if (child == 0) report(to.get(), account, work);
  to.reset();

  std::string words;
  bool late = false;
  for (;;) {
    const auto left =
        duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd waiting{.fd = from.get(), .events = POLLIN, .revents = 0};
    const int ready = poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(0, left)));
    if (ready < 0 && errno == EINTR) continue;
    if ((late = ready <= 0)) break;
    char block[4096];
    const auto count = read(from.get(), block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    words.append(block, static_cast<std::size_t>(count));
  }
  if (late) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  using Kind = Trial::Kind;
  if (late) return {Kind::late, {}, Exit::ok, 0};
  if (words.starts_with('r')) return {Kind::returned, words.substr(1), Exit::ok, 0};
  if (words.starts_with('f') && words.size() >= 2)
    return {Kind::failed, words.substr(2), static_cast<Exit>(words[1]), 0};
  if (WIFSIGNALED(status)) return {Kind::died, {}, Exit::ok, WTERMSIG(status)};
  if (words.empty()) return {Kind::died, {}, Exit::ok, 0};
  return {};
}

std::optional<int> access_as(const Account& account, const std::string& path, int mode) {
  const auto look = [&] { return faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0 ? 0 : errno; };
  if (account.is_self()) return look();
  const auto trial = try_as(account, std::chrono::seconds{5}, [&] { return std::to_string(look()); });
  if (trial.kind != Trial::Kind::returned) return std::nullopt;
  return std::atoi(trial.text.c_str());
}

}  // namespace stem
