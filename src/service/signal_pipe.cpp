#include "service/signal_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>
#include <string>

namespace stem {
namespace {

int pipe_end = -1;

void on_signal(int number) {
  const int error = errno;
  const auto byte = static_cast<unsigned char>(number);
  [[maybe_unused]] const auto count = write(pipe_end, &byte, 1);
  errno = error;
}

}  // namespace

SignalPipe::SignalPipe(const std::vector<int>& numbers) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Error(Exit::software, std::string("cannot make a pipe: ") + std::strerror(errno));
  read_.reset(ends[0]);
  write_.reset(ends[1]);
  pipe_end = ends[1];
  for (const int number : numbers) handle(number, on_signal);
  handle(SIGPIPE, [](int) {});
}

SignalPipe::~SignalPipe() {
  for (const auto& former : former_) sigaction(former.number, &former.action, nullptr);
  pipe_end = -1;
}

int SignalPipe::next() const {
  unsigned char number = 0;
  return read(read_.get(), &number, 1) == 1 ? number : 0;
}

void SignalPipe::handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  Former former{.number = number, .action = {}};
  if (sigaction(number, &action, &former.action) == 0) former_.push_back(former);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
}

}  // namespace stem
