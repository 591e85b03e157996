#include "cli/worker_multi_logs.hpp"

#include <unistd.h>

#include <ctime>
#include <iostream>
#include <stem/json.hpp>

#include "cli/node_view.hpp"

namespace stem::cli {
namespace {

std::string local_time(WallTime time) {
  const auto seconds = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(time));
  std::tm parts{};
  char text[64];
  localtime_r(&seconds, &parts);
  return {text, std::strftime(text, sizeof text, "%b %d %H:%M:%S", &parts)};
}

Json to_json(const LogLine& line) {
  return {{"time", line.time ? Json(format_time(*line.time)) : Json()},
          {"node", line.node},
          {"source", line.source.empty() ? Json() : Json(line.source)},
          {"pid", line.pid > 0 ? Json(line.pid) : Json()},
          {"priority", line.time ? Json(line.priority) : Json()},
          {"text", line.text}};
}

}  // namespace

void LogPrinter::line(const LogLine& line) {
  if (json_) {
    std::cout << to_json(line).dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
    return;
  }
  std::string head;
  if (line.time) {
    head = local_time(*line.time) + " " + line.node + " " + plain(line.source);
    if (line.pid > 0) head += "[" + std::to_string(line.pid) + "]";
    head += ": ";
  } else if (several_) {
    head = line.node + "  ";
  }
  for (std::size_t at = 0; at <= line.text.size();) {
    const auto end = std::min(line.text.find('\n', at), line.text.size());
    // Lines that belong to one message stay together.
    std::cout << (at == 0 ? head : "    ") << plain(line.text.substr(at, end - at)) << '\n';
    at = end + 1;
    if (at == line.text.size()) break;
  }
}

void LogPrinter::remark(const std::string& text) {
  std::cerr << "stem worker multi: " << text << '\n';
}

bool LogPrinter::caught_up() {
  std::cout.flush();
  return static_cast<bool>(std::cout);
}

int LogPrinter::reader_fd() const {
  return STDOUT_FILENO;
}

}  // namespace stem::cli
