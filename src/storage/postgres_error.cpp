#include "storage/postgres_error.hpp"

#include <algorithm>

namespace stem {
namespace {

bool is_state_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
}

/// Where `XXXXX: ` begins, after `FATAL:  `.
std::size_t find_state(std::string_view message) {
  for (auto at = message.find(":  "); at != message.npos; at = message.find(":  ", at + 1)) {
    const auto state = message.substr(at + 3, 6);
    if (state.size() == 6 && state[5] == ':' &&
        std::all_of(state.begin(), state.begin() + 5, is_state_character))
      return at + 3;
  }
  return message.npos;
}

}  // namespace

std::string state_in(std::string_view message) {
  const auto at = find_state(message);
  return at == message.npos ? std::string() : std::string(message.substr(at, 5));
}

std::string plain_message(std::string_view message) {
  for (const auto* end : {"\nLOCATION:", "\n\tIs the server"}) message = message.substr(0, message.find(end));
  std::string line;
  if (const auto at = find_state(message); at != message.npos) {
    line = message.substr(0, at);
    message.remove_prefix(std::min(message.size(), at + 7));
  }
  line += message;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  for (auto& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return line.substr(0, 300);
}

PostgresError postgres_error(const std::string& at, std::string_view state, std::string_view said) {
  const auto error = [&](Exit code, const std::string& what) {
    return PostgresError(code, at + " " + what, std::string(state));
  };
  const auto words = " (" + plain_message(said) + ")";
  if (state == "28P01") return error(Exit::no_permission, "refuses the user or the password of the address");
  if (state.starts_with("28"))
    return error(Exit::no_permission, "lets this user not in from here" + words +
                                          "; see its pg_hba.conf, and user and password of the address");
  if (state == "3D000")
    return error(Exit::config, "has no such database; create it, or correct the address" + words);
  if (state == "42501")
    return error(Exit::no_permission,
                 "does not let this user do that" + words + "; docs/postgres.md lists what Stem needs");
  if (state == "53300")
    return error(
        Exit::unavailable,
        "has as many connections as it takes; raise its max_connections, or the limit of user or database");
  if (state == "53100") return error(Exit::cannot_create, "has a full disk; make room" + words);
  if (state == "53200") return error(Exit::try_again, "is out of memory" + words);
  if (state == "53400" || state == "54000")
    return error(Exit::try_again, "has reached one of its limits" + words);
  if (state == "58030")
    return error(Exit::cannot_create,
                 "cannot read or write its files" + words + "; see its log and its disk");
  if (state == "57P03")
    return error(Exit::unavailable,
                 "is starting up, shutting down or recovering; it answers when that is done");
  if (state == "57P04") return error(Exit::config, "has dropped the database of the address");
  if (state.starts_with("57P") || state.starts_with("08"))
    return error(Exit::unavailable, "closed the connection" + words);
  if (state == "57014" || state == "55P03")
    return error(Exit::try_again, "took too long" + words + "; ?timeout= in the address allows it more time");
  if (state == "25006")
    return error(Exit::unavailable,
                 "is read-only, a standby perhaps; name its primary, or several hosts and "
                 "target_session_attrs=read-write");
  if (state == "40001" || state == "40P01")
    return error(Exit::try_again, "is busy: this collided with others again and again");
  if (state == "22021" || state == "22P05")
    return error(Exit::data, "cannot hold this text: it is not UTF-8, or has a zero byte");
  if (state == "3F000" || state == "42P01" || state == "42703" || state == "42883")
    return error(Exit::config, "lacks Stem's tables" + words + "; restart, so that they are made anew");
  return error(Exit::software, "refused a command: " + plain_message(said) + " [" + std::string(state) + "]");
}

}  // namespace stem
