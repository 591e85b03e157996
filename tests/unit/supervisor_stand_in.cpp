// Stands in for `stem worker start`: takes its arguments, holds the pidfile and says READY=1 with the code of
// the real one, and misbehaves as STAND_IN says.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <stem/error.hpp>
#include <string>

#include "service/notify.hpp"
#include "service/pidfile.hpp"

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 3; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  const char* said = std::getenv("STAND_IN");
  const std::string mode = said ? said : "";

  std::fprintf(stderr, "stand-in of %s\n", options["--node"].c_str());
  if (mode == "bad configuration") {
    std::fprintf(stderr, "stem worker start: /etc/stem/stem.env:7: unclosed quote\n");
    return 78;
  }
  if (mode == "crash") raise(SIGKILL);
  if (mode == "stubborn") signal(SIGTERM, SIG_IGN);

  auto notify = stem::Notify::from_environment();
  try {
    stem::Pidfile pidfile(options["--pidfile"]);
    pidfile.write();
    if (mode == "stubborn" && fork() == 0)
      for (;;) pause();  // a child that has to go as well
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    if (mode != "stubborn") sigprocmask(SIG_BLOCK, &term, nullptr);
    if (mode != "never ready") notify.ready();
    int number = 0;
    if (mode == "stubborn")
      for (;;) pause();
    sigwait(&term, &number);
    return 0;
  } catch (const stem::Error& error) {
    std::fprintf(stderr, "stem worker start: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
