#include "service/pidfile.hpp"

#include <unistd.h>

#include <fstream>

#include "target.hpp"

namespace {

/// Nobody holds it, so whatever it says, nobody is taken for the worker.
bool check(const std::string& text) {
  static const std::string path =
      std::string("/tmp/stem-fuzz-").append(std::to_string(getpid())).append(".pid");
  std::ofstream(path, std::ios::trunc | std::ios::binary) << text;
  const auto state = stem::read_pidfile(path);
  require(!state.running(), "a file that nobody holds is no worker", text);
  require(state.kind == stem::PidfileState::Kind::stale || state.kind == stem::PidfileState::Kind::foreign,
          "stale or foreign", text);
  require(state.pid >= 0, "no number is below 0", text);
  if (state.kind == stem::PidfileState::Kind::foreign) require_message(state.detail, text);
  require(!stem::PidfileHolder::open(path), "nobody would be signalled", text);
  const bool removed = stem::remove_stale_pidfile(path);
  require(removed == (state.kind == stem::PidfileState::Kind::stale),
          "what is stale goes, what is foreign stays", text);
  unlink(path.c_str());
  return removed;
}

const Target pidfile{"pidfile", check};

}  // namespace
