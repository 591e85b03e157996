#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <functional>
#include <set>
#include <stem/error.hpp>

#include "refusal.hpp"
#include "service/pidfile.hpp"
#include "temp_dir.hpp"

using stem::Error;
using stem::Exit;
using stem::Pidfile;
using stem::PidfileHolder;
using stem::read_pidfile;
using stem::remove_stale_pidfile;
using Kind = stem::PidfileState::Kind;

namespace {

/// A process that runs `work`, then waits until it is told to go on, by the end of this object.
class Process {
 public:
  explicit Process(const std::function<void()>& work, bool own_group = false) {
    int ready[2], hold[2];
    REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
    REQUIRE(pipe2(hold, O_CLOEXEC) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(hold[1]);
      close(ready[0]);
      if (own_group) setpgid(0, 0);
      for (const int number : {SIGTERM, SIGINT, SIGABRT, SIGSEGV})
        ::signal(number, SIG_DFL);  // doctest has its own
      try {
        work();
      } catch (...) {
        _exit(1);
      }
      char byte = 'r';
      if (write(ready[1], &byte, 1) != 1) _exit(2);
      if (read(hold[0], &byte, 1) < 0) _exit(3);
      _exit(0);
    }
    close(ready[1]);
    close(hold[0]);
    char byte = 0;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    hold_ = hold[1];
  }
  ~Process() { end(); }
  pid_t pid() const { return pid_; }
  int end() {
    if (pid_ <= 0) return status_;
    close(hold_);
    waitpid(pid_, &status_, 0);
    pid_ = 0;
    return status_;
  }
  int wait() {
    waitpid(pid_, &status_, 0);
    close(hold_);
    pid_ = 0;
    return status_;
  }

 private:
  pid_t pid_ = 0;
  int hold_ = -1;
  int status_ = 0;
};

}  // namespace

TEST_CASE("pidfile: it holds the pid for as long as the worker lives") {
  const TempDir dir;
  const auto path = dir / "web-1.pid";
  CHECK(read_pidfile(path).kind == Kind::missing);
  {
    const auto old = umask(077);
    Pidfile pidfile(path);
    umask(old);
    CHECK(read_pidfile(path).kind == Kind::starting);
    pidfile.write();
    CHECK(content_of(path) == std::to_string(getpid()) + "\n");
    const auto state = read_pidfile(path);
    CHECK(state.kind == Kind::live);
    CHECK(state.running());
    CHECK(state.pid == getpid());
    struct stat status {};
    REQUIRE(stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0644);
  }
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("pidfile: a second worker is refused while the first lives") {
  const TempDir dir;
  const auto path = dir / "a.pid";
  Process first([&] { (new Pidfile(path))->write(); });
  const auto [code, message] = refusal([&] { Pidfile second(path); });
  CHECK(code == Exit::try_again);
  CHECK(contains(message, "(pid " + std::to_string(first.pid()) + ")"));
  kill(first.pid(), SIGKILL);
  first.wait();
  CHECK(read_pidfile(path).kind == Kind::stale);
  Pidfile third(path);
  third.write();
  CHECK(read_pidfile(path).pid == getpid());
}

TEST_CASE("pidfile: a zombie is dead, although its pid still exists") {
  const TempDir dir;
  const auto path = dir / "a.pid";
  Process worker([&] { (new Pidfile(path))->write(); });
  kill(worker.pid(), SIGKILL);
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(worker.pid()), &info, WEXITED | WNOWAIT) == 0);
  CHECK(kill(worker.pid(), 0) == 0);
  CHECK(read_pidfile(path).kind == Kind::stale);
  CHECK_FALSE(PidfileHolder::open(path).has_value());
}

TEST_CASE("pidfile: of many starts in the same instant, exactly one wins") {
  const TempDir dir;
  for (int round = 0; round < 50; ++round) {
    const auto path = dir / "race.pid";
    // A stale file in every second round.
    if (round % 2) dir.file("race.pid", "99999\n");
    int gate[2], hold[2];
    REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
    REQUIRE(pipe2(hold, O_CLOEXEC) == 0);
    int results[2];
    REQUIRE(pipe2(results, O_CLOEXEC) == 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 4; ++i) {
      const auto child = fork();
      if (child == 0) {
        close(gate[1]);
        close(hold[1]);
        char byte;
        if (read(gate[0], &byte, 1) < 0) _exit(1);  // until the gate is closed
        char won = 'n';
        std::unique_ptr<Pidfile> pidfile;
        try {
          pidfile = std::make_unique<Pidfile>(path);
          pidfile->write();
          won = 'y';
        } catch (const Error& error) {
          if (error.code() != Exit::try_again) won = '?';
        }
        if (write(results[1], &won, 1) != 1) _exit(1);
        if (read(hold[0], &byte, 1) < 0) _exit(1);
        _exit(0);  // without the destructor: the file stays, as after a crash
      }
      children.push_back(child);
    }
    close(gate[0]);
    close(gate[1]);
    close(hold[0]);
    std::multiset<char> answers;
    for (int i = 0; i < 4; ++i) {
      char won = 0;
      REQUIRE(read(results[0], &won, 1) == 1);
      answers.insert(won);
    }
    CHECK(answers == std::multiset<char>{'n', 'n', 'n', 'y'});
    CHECK(read_pidfile(path).kind == Kind::live);
    close(hold[1]);
    for (const auto child : children) waitpid(child, nullptr, 0);
    close(results[0]);
    close(results[1]);
    std::filesystem::remove(path);
  }
}

TEST_CASE("pidfile: starts and ends in quick succession never leave two holders or lose the file") {
  const TempDir dir;
  const auto path = dir / "churn.pid";
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const auto child = fork();
    if (child == 0) {
      for (int round = 0; round < 300; ++round) {
        try {
          Pidfile pidfile(path);
          pidfile.write();
          // While we hold it, the file at the path is ours.
          if (read_pidfile(path).pid != getpid()) _exit(1);
        } catch (const Error& error) {
          if (error.code() != Exit::try_again) _exit(2);
        }
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (const auto child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
}

TEST_CASE("pidfile: whatever number an unheld file names, no process is found or touched") {
  const TempDir dir;
  Process bystander([] {});
  for (const auto& text :
       {std::string("1\n"), std::to_string(getpid()) + "\n", std::to_string(bystander.pid()),
        std::string("0"), std::string("-1"), std::string("4194305"), std::string("99999999999999999999"),
        std::string("text"), std::string("12 34"), std::string(""), std::string("\0\0\0\0", 4),
        std::string(" 7")}) {
    CAPTURE(text);
    const auto path = dir.file("x.pid", text);
    const auto state = read_pidfile(path);
    CHECK_FALSE(state.running());
    CHECK((state.kind == Kind::stale || state.kind == Kind::foreign));
    CHECK_FALSE(PidfileHolder::open(path).has_value());
    Pidfile taken(path);  // a worker may start over it
    taken.write();
    CHECK(read_pidfile(path).pid == getpid());
  }
  CHECK(bystander.end() == 0);
}

TEST_CASE("pidfile: what is no pidfile is neither read as one nor overwritten") {
  const TempDir dir;
  const auto document = dir.file("document", std::string(200, 'x'));
  CHECK(read_pidfile(document).kind == Kind::foreign);
  CHECK(refusal([&] { Pidfile p(document); }).first == Exit::cannot_create);
  CHECK(content_of(document).size() == 200);

  REQUIRE(symlink("/etc/passwd", (dir / "link").c_str()) == 0);
  CHECK(read_pidfile(dir / "link").kind == Kind::foreign);
  CHECK(read_pidfile(dir / "link").detail == "a symbolic link");
  auto [code, message] = refusal([&] { Pidfile p(dir / "link"); });
  CHECK(code == Exit::no_permission);
  CHECK(contains(message, "symbolic link"));

  CHECK(read_pidfile(dir.path()).kind == Kind::foreign);
  CHECK(read_pidfile(dir.path()).detail == "a directory");
  CHECK(refusal([&] { Pidfile p(dir.path()); }).first == Exit::cannot_create);
  CHECK_FALSE(PidfileHolder::open(dir.path()).has_value());
  CHECK_FALSE(PidfileHolder::open(dir / "link").has_value());

  REQUIRE(mkfifo((dir / "fifo").c_str(), 0600) == 0);
  CHECK(read_pidfile(dir / "fifo").kind == Kind::foreign);
  CHECK(refusal([&] { Pidfile p(dir / "fifo"); }).first == Exit::cannot_create);

  dir.file("one", "1\n");
  REQUIRE(link((dir / "one").c_str(), (dir / "two").c_str()) == 0);
  CHECK(contains(refusal([&] { Pidfile p(dir / "two"); }).second, "hard link"));

  CHECK(contains(refusal([&] { Pidfile p(dir / "no/such/dir.pid"); }).second, "make the directory"));
  if (geteuid() != 0) return;
  dir.file("theirs", "1\n");
  REQUIRE(chown((dir / "theirs").c_str(), 4242, 4242) == 0);
  CHECK(refusal([&] { Pidfile p(dir / "theirs"); }).first == Exit::no_permission);
}

TEST_CASE("pidfile: the holder is found and signalled through a handle") {
  const TempDir dir;
  const auto path = dir / "a.pid";
  Process worker([&] { (new Pidfile(path))->write(); });
  auto holder = PidfileHolder::open(path);
  REQUIRE(holder.has_value());
  CHECK(holder->pid() == worker.pid());
  CHECK(holder->signal(0));
  CHECK_FALSE(holder->wait(0));
  CHECK(holder->signal(SIGTERM));
  CHECK(holder->wait(10'000));
  CHECK(WTERMSIG(worker.wait()) == SIGTERM);
  CHECK_FALSE(holder->signal(SIGTERM));  // gone: no one else is meant
}

TEST_CASE("pidfile: the whole process group of a holder is signalled") {
  const TempDir dir;
  const auto path = dir / "a.pid";
  int out[2];
  REQUIRE(pipe(out) == 0);
  Process worker(
      [&] {
        (new Pidfile(path))->write();
        if (fork() == 0) {
          close(out[0]);
          pause();
          _exit(0);
        }
      },
      true);
  close(out[1]);
  auto holder = PidfileHolder::open(path);
  REQUIRE(holder.has_value());
  CHECK(holder->signal_group(SIGKILL));
  CHECK(WTERMSIG(worker.wait()) == SIGKILL);
  char byte = 0;
  CHECK(read(out[0], &byte, 1) == 0);  // the child's end is closed: it is gone, too
  close(out[0]);
}

TEST_CASE("pidfile: a group whose leader has ended, and was not collected yet, is signalled as a whole") {
  const TempDir dir;
  const auto path = dir / "a.pid";
  int out[2];
  REQUIRE(pipe2(out, O_CLOEXEC) == 0);
  const pid_t leader = fork();
  if (leader == 0) {  // as the process between, when a daemon is forked twice
    setsid();
    if (fork() != 0) _exit(0);
    (new Pidfile(path))->write();
    (void)!fork();
    (void)!write(out[1], "x", 1);
    for (;;) pause();
  }
  close(out[1]);
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(leader), &info, WEXITED | WNOWAIT) == 0);
  char byte = 0;
  REQUIRE(read(out[0], &byte, 1) == 1);
  REQUIRE(read(out[0], &byte, 1) == 1);
  auto holder = PidfileHolder::open(path);
  REQUIRE(holder.has_value());
  CHECK(holder->pid() != leader);
  CHECK(holder->signal_group(SIGKILL));
  CHECK(holder->wait(10'000));
  pollfd end{.fd = out[0], .events = POLLIN, .revents = 0};
  REQUIRE(poll(&end, 1, 10'000) == 1);
  CHECK(read(out[0], &byte, 1) == 0);  // both have gone
  close(out[0]);
  CHECK(waitpid(leader, nullptr, 0) == leader);
}

TEST_CASE("pidfile: a forged number in a held file leads to no other process") {
  const TempDir dir;
  const auto path = dir / "forged.pid";
  Process victim([] {});
  Process forger([&] {
    new Pidfile(path);
    dir.file("forged.pid", std::to_string(victim.pid()) + "\n");
  });
  const auto [code, message] = refusal([&] { PidfileHolder::open(path); });
  CHECK(code == Exit::software);
  CHECK(contains(message, "no process was touched"));
  forger.end();  // first: it has a copy of the pipe that holds the victim
  CHECK(victim.end() == 0);
}

TEST_CASE("pidfile: a reader's own locks cannot make a dead worker look alive") {
  const TempDir dir;
  const auto path = dir.file("a.pid", std::to_string(getpid()) + "\n");
  const int reader = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  REQUIRE(fcntl(reader, F_OFD_SETLK, &lock) == 0);
  CHECK(read_pidfile(path).kind == Kind::stale);
  close(reader);
}

TEST_CASE("pidfile: what a dead worker left is removed, by its user or, in that user's directory, by root") {
  const TempDir dir;
  CHECK(remove_stale_pidfile(dir.file("a.pid", "4711\n")));
  CHECK(!std::filesystem::exists(dir / "a.pid"));
  CHECK(remove_stale_pidfile(dir.file("empty.pid", "")));
  CHECK(!remove_stale_pidfile(dir / "a.pid"));  // there is none
  CHECK(!remove_stale_pidfile(dir.file("text", "not a number")));
  CHECK(!remove_stale_pidfile(dir.path()));
  REQUIRE(symlink("text", (dir / "link").c_str()) == 0);
  CHECK(!remove_stale_pidfile(dir / "link"));
  const auto twice = dir.file("one.pid", "1\n");
  REQUIRE(link(twice.c_str(), (dir / "two.pid").c_str()) == 0);
  CHECK(!remove_stale_pidfile(twice));
  {
    const Pidfile held(dir / "held.pid");
    CHECK(!remove_stale_pidfile(dir / "held.pid"));
    CHECK(std::filesystem::exists(dir / "held.pid"));
  }
  if (geteuid() != 0) {
    MESSAGE("the rest needs root");
    return;
  }
  // In root's directory it may be anybody's trap; in its owner's it is theirs alone.
  const auto theirs = dir.file("theirs.pid", "4711\n");
  REQUIRE(chown(theirs.c_str(), 4242, 4242) == 0);
  CHECK(!remove_stale_pidfile(theirs));
  REQUIRE(chown(dir.path().c_str(), 4242, 4242) == 0);
  CHECK(remove_stale_pidfile(theirs));
}
