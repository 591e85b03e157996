#pragma once

#include <initializer_list>
#include <string>

namespace stem {

/// A shared library that is loaded when something first needs it, so that no other process pays for it. It
/// stays for as long as the process lives. For one thread, mostly that which initialises a static.
class LoadedLibrary {
 public:
  /// Loads the first of `files` that is there. `taker` is what needs it, and `remedy` what to do without, for
  /// the message. Throws Error (exit 78).
  LoadedLibrary(const char* taker, std::initializer_list<const char*> files, const char* remedy);

  /// Lets `function` be that of this name. Throws Error (exit 78) if the library is too old to have it.
  template <class Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  const char* taker_;
  const char* remedy_;
  std::string file_;
  void* handle_ = nullptr;
};

}  // namespace stem
