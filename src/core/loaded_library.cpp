#include "core/loaded_library.hpp"

#include <dlfcn.h>

#include <stem/error.hpp>

namespace stem {
namespace {

std::string last_error() {
  const char* error = dlerror();
  return error ? error : "unknown error";
}

}  // namespace

LoadedLibrary::LoadedLibrary(const char* taker, std::initializer_list<const char*> files, const char* remedy)
    : taker_(taker), remedy_(remedy) {
  std::string why;  // of the first
  for (const auto* file : files) {
    file_ = file;
    handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle_) return;
    if (why.empty()) why = last_error();
  }
  std::string message = taker_;
  message.append(" takes ").append(*files.begin()).append(", which cannot be loaded (").append(why);
  throw Error(Exit::config, message.append("); install it ").append(remedy_));
}

void* LoadedLibrary::address_of(const char* name) const {
  if (void* const found = dlsym(handle_, name)) return found;
  std::string message = file_;
  message.append(" is too old for what ").append(taker_).append(" takes (").append(last_error());
  throw Error(Exit::config, message.append("); install a newer one ").append(remedy_));
}

}  // namespace stem
