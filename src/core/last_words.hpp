#pragma once

namespace stem {

/// What has something to send before its process ends by _exit(), as a pool's processes do. One for the whole
/// process, also where a task module brings another copy of this library along: the program's functions stand
/// in for its own (src/cli/shared_with_modules.list). Thread-safe.
class LastWords {
 public:
  /// Says that say() will be called: what has something to send need not do so sooner.
  static void expect();
  static bool expected();
  /// Adds a function to those that say() calls; once, however often it is added.
  static void add(void (*function)());
  static void say();
};

}  // namespace stem
