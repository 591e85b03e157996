#include "service/node_template.hpp"

#include <unistd.h>

#include <climits>
#include <ctime>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  if (gethostname(name, sizeof name - 1) != 0 || !*name) return "localhost";
  return name;
}

NodeTemplate NodeTemplate::now(const std::string& node) {
  return {.node = node, .host = host_name(), .started = Clock::system().wall(), .process = 0};
}

std::string NodeTemplate::expand(std::string_view text) const {
  std::string path;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      path += text[at];
      continue;
    }
    const char mark = ++at < text.size() ? text[at] : '\0';
    switch (mark) {
      case 'n':
        path += node;
        break;
      case 'h':
        path += host;
        break;
      case 'I':
        path += process == 0 ? "" : "-" + std::to_string(process);
        break;
      case '%':
        path += '%';
        break;
      case 'd': {
        const auto seconds = std::chrono::floor<std::chrono::seconds>(started).time_since_epoch().count();
        const std::time_t time = seconds;
        std::tm parts{};
        gmtime_r(&time, &parts);
        char digits[32];
        std::strftime(digits, sizeof digits, "%Y%m%dT%H%M%SZ", &parts);
        path += digits;
        break;
      }
      default:
        throw Error(Exit::config,
                    "unknown mark `%" + (mark ? printable(std::string_view(&mark, 1)) : "") + "` in `" +
                        printable(text) +
                        "`; use %n node, %h host, %d time of the start, %I process, %% a percent sign");
    }
  }
  return path;
}

}  // namespace stem
