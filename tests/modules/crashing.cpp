// A task module that does not survive being loaded.
#include <cstdlib>

namespace {
struct Crash {
  Crash() { std::abort(); }
} crash;
}  // namespace
