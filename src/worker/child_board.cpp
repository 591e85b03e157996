#include "worker/child_board.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stem/error.hpp>

namespace stem {
namespace {

constexpr int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
constexpr std::size_t longest_text = 4096;
constexpr std::size_t longest_symbol = 240;

void* shared_memory(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(Exit::software, std::string("cannot share memory with the pool: ") + std::strerror(errno));
  return memory;
}

ChildBoard::Crash* noted = nullptr;

/// On a stack of its own, for the usual one may be what is used up. Only calls that are safe at any instant,
/// but for backtrace(), which may wait for ever if the loader was interrupted: an alarm ends that.
void on_fatal(int number, siginfo_t* info, void*) {
  if (auto* crash = noted; crash && crash->signal == 0) {
    crash->address = info->si_addr;
    crash->has_address =
        info->si_code > 0 && (number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE);
    crash->signal = number;
    signal(SIGALRM, SIG_DFL);
    alarm(5);
    crash->depth = backtrace(crash->frames, static_cast<int>(std::size(crash->frames)));
    alarm(0);
  }
  // SA_RESETHAND has put the default action back. To this thread, so that a core dump shows it as the one
  // that failed.
  syscall(SYS_tgkill, getpid(), static_cast<pid_t>(syscall(SYS_gettid)), number);
}

/// Where programs and libraries are in the memory of this process.
std::vector<std::pair<std::uintptr_t, std::uintptr_t>> loaded_modules() {
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> all;
  const auto add = [](dl_phdr_info* module, std::size_t, void* list) {
    for (int i = 0; i < module->dlpi_phnum; ++i) {
      const auto& part = module->dlpi_phdr[i];
      const auto from = static_cast<std::uintptr_t>(module->dlpi_addr + part.p_vaddr);
      if (part.p_type == PT_LOAD) static_cast<decltype(all)*>(list)->emplace_back(from, from + part.p_memsz);
    }
    return 0;
  };
  dl_iterate_phdr(add, &all);
  return all;
}

std::string demangled(const char* symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(symbol, nullptr, nullptr, &status), &std::free);
  std::string text = name ? name.get() : symbol;
  if (text.size() > longest_symbol) text.resize(longest_symbol), text.append("…");
  return text;
}

}  // namespace

ChildBoard::ChildBoard(int children)
    : order_bytes_(sizeof(Order) * static_cast<std::size_t>(children)),
      crash_bytes_(sizeof(Crash) * static_cast<std::size_t>(children)),
      orders_(static_cast<Order*>(shared_memory(order_bytes_))),
      crashes_(static_cast<Crash*>(shared_memory(crash_bytes_))),
      modules_(loaded_modules()) {
  for (int i = 0; i < children; ++i) new (&orders_[i]) Order{};
}

ChildBoard::~ChildBoard() {
  munmap(orders_, order_bytes_);
  munmap(crashes_, crash_bytes_);
}

void ChildBoard::seal() {
  mprotect(orders_, order_bytes_, PROT_READ);
}

void prepare_crash_notes() {
  void* frame[1];
  backtrace(frame, 1);
}

void note_crashes(ChildBoard::Crash& crash) {
  noted = &crash;
  constexpr std::size_t room = 64 * 1024;
  void* memory = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) {
    const stack_t stack{.ss_sp = memory, .ss_flags = 0, .ss_size = room};
    sigaltstack(&stack, nullptr);
  }
  struct sigaction action {};
  action.sa_sigaction = on_fatal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NODEFER;
  for (const int number : fatal) sigaction(number, &action, nullptr);
}

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name ? std::string("SIG").append(name) : "signal " + std::to_string(number);
}

std::string ChildBoard::describe(const Crash& crash) const {
  std::string text;
  const int depth = std::clamp(crash.depth, 0, static_cast<int>(std::size(crash.frames)));
  // The first two are the handler of the signal, and the kernel's call of it.
  for (int i = depth > 2 ? 2 : 0, number = 0; i < depth; ++i, ++number) {
    auto* const address = crash.frames[i];
    char line[64];
    std::snprintf(line, sizeof line, "#%-2d ", number);
    std::string entry = line;
    // A return address belongs to the call before it; the innermost one is the instruction itself.
    const auto inside = reinterpret_cast<std::uintptr_t>(address) - (number > 0 ? 1 : 0);
    const bool inherited = std::any_of(modules_.begin(), modules_.end(), [&](const auto& module) {
      return module.first <= inside && inside < module.second;
    });
    Dl_info info{};
    if (inherited && dladdr(reinterpret_cast<void*>(inside), &info) != 0 && info.dli_fname) {
      if (info.dli_sname) entry += demangled(info.dli_sname) + " ";
      const std::string_view file = info.dli_fname;
      std::snprintf(line, sizeof line, "+%#lx)",
                    static_cast<unsigned long>(reinterpret_cast<std::uintptr_t>(address) -
                                               reinterpret_cast<std::uintptr_t>(info.dli_fbase)));
      entry.append("(").append(file.substr(file.rfind('/') + 1)).append(line);
    } else {
      std::snprintf(line, sizeof line, "%p", address);
      entry += line;
    }
    if (text.size() + entry.size() + 1 > longest_text) break;
    text.append(text.empty() ? "" : "\n").append(entry);
  }
  return text;
}

}  // namespace stem
