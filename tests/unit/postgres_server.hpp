#pragma once

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "temp_dir.hpp"

/// A real PostgreSQL on a Unix socket in a directory of its own, as Debian's user postgres where this runs as
/// root; gone with this object, or with this process. Everybody who connects is `stem` and may do everything,
/// without a password.
class PostgresServer {
 public:
  /// `files` are put into its directory, by name: pg_hba.conf, server.key.
  explicit PostgresServer(std::vector<std::string> settings = {},
                          const std::map<std::string, std::string>& files = {})
      : settings_(std::move(settings)) {
    if (geteuid() == 0) {
      account_ = getpwnam("postgres");
      if (account_ == nullptr)
        throw std::runtime_error("there is no user postgres; tool/setup installs PostgreSQL");
      if (chown(dir_.path().c_str(), account_->pw_uid, account_->pw_gid) != 0)
        throw std::runtime_error("chown");
      std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
    }
    const auto made = run({program("initdb"), "-D", data(), "-U", "stem", "-A", "trust", "-E", "UTF8",
                           "--locale=C", "--no-sync"});
    if (made != 0) throw std::runtime_error("initdb fails; tool/setup installs PostgreSQL");
    for (const auto& [name, content] : files) put(name, content);
    start();
  }
  ~PostgresServer() { stop(SIGKILL); }
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// On what was left behind, if it ran before. Returns when it lets clients in.
  void start() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    // What a killed server leaves running for a moment keeps the next one from starting.
    for (pid_ = launch(); !accepts(); usleep(5'000)) {
      if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
        usleep(50'000);
        pid_ = launch();
      }
      if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("PostgreSQL does not answer");
    }
  }
  /// A file in its directory, which nobody else may read.
  void put(const std::string& name, const std::string& content) const {
    const auto path = data() + "/" + name;
    std::filesystem::remove(path);
    std::ofstream(path) << content;
    std::filesystem::permissions(path, std::filesystem::perms(0600));
    if (account_ != nullptr && chown(path.c_str(), account_->pw_uid, account_->pw_gid) != 0)
      throw std::runtime_error("chown");
  }
  /// SIGKILL as a crash, SIGINT as a restart that breaks all connections.
  void stop(int signal) {
    if (pid_ <= 0) return;
    const auto children = processes();
    kill(pid_, signal);
    kill(pid_, SIGCONT);
    if (signal == SIGKILL)
      for (const auto child : children) kill(child, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  /// To all its processes: SIGSTOP, SIGCONT.
  void signal(int number) const {
    for (const auto one : processes()) kill(one, number);
  }

  std::string data() const { return dir_ / "data"; }
  std::string directory() const { return dir_.path(); }
  /// `parameters` as in a URL, without the question mark; `person` with the '@'.
  std::string url(const std::string& parameters = {}, const std::string& person = "stem@",
                  const std::string& database = "postgres") const {
    return "postgresql://" + person + "/" + database + "?host=" + dir_.path() +
           (parameters.empty() ? "" : "&" + parameters);
  }
  static std::string program(const std::string& name) {
    std::vector<std::string> found;
    std::error_code none;
    for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", none))
      if (std::filesystem::exists(version.path() / "bin" / name))
        found.push_back(version.path() / "bin" / name);
    std::sort(found.begin(), found.end());
    return found.empty() ? name : found.back();
  }

  /// The one that most tests of a program share.
  static PostgresServer& shared() {
    static PostgresServer server;
    return server;
  }

 private:
  pid_t spawn(std::vector<std::string> words) const {
    const auto parent = getpid();
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork");
    if (child > 0) return child;
    for (int number = 1; number < NSIG; ++number)
      ::signal(number, SIG_DFL);  // doctest has handlers of its own
    if (account_ != nullptr &&
        (setgroups(0, nullptr) != 0 || setgid(account_->pw_gid) != 0 || setuid(account_->pw_uid) != 0))
      _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || chdir("/") != 0) _exit(1);
    const int null = open("/dev/null", O_RDWR);
    const int log = open((dir_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    closefrom(3);
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  int run(const std::vector<std::string>& words) const {
    int status = 0;
    waitpid(spawn(words), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  pid_t launch() const {
    std::vector<std::string> words{program("postgres"), "-D", data(), "-k", dir_.path()};
    // What is lost with the machine is not what is tested here; what is lost with the processes is.
    for (const auto* setting : {"listen_addresses=", "fsync=off", "max_connections=200"})
      words.insert(words.end(), {"-c", setting});
    for (const auto& setting : settings_) words.insert(words.end(), {"-c", setting});
    return spawn(words);
  }
  /// It says itself, in the last line of a file, when it is ready.
  bool accepts() const {
    std::ifstream status(data() + "/postmaster.pid");
    std::string line, last;
    for (int number = 1; std::getline(status, line); ++number) last = number == 8 ? line : last;
    std::ifstream first(data() + "/postmaster.pid");
    std::getline(first, line);
    return last.starts_with("ready") && line == std::to_string(pid_);
  }
  std::vector<pid_t> processes() const {
    std::vector<pid_t> all{pid_};
    std::ifstream children("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children");
    for (pid_t child = 0; children >> child;) all.push_back(child);
    return all;
  }

  const TempDir dir_;
  const std::vector<std::string> settings_;
  const passwd* account_ = nullptr;
  pid_t pid_ = 0;
};
