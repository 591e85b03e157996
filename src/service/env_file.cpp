#include "service/env_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <stem/error.hpp>

#include "core/descriptor.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

// systemd refuses larger files (READ_FULL_BYTES_MAX), the kernel longer assignments (MAX_ARG_STRLEN, NUL
// included).
constexpr std::size_t longest_file = 64 * 1024 * 1024 - 1;
constexpr std::size_t longest_assignment = 128 * 1024 - 1;

bool is_newline(char c) {
  return c == '\n' || c == '\r';
}
bool is_blank(char c) {
  return c == ' ' || c == '\t' || is_newline(c);
}

bool is_variable_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (text.empty() || !letter(text.front())) return false;
  for (const char c : text)
    if (!letter(c) && !(c >= '0' && c <= '9')) return false;
  return true;
}

/// The part of a bad name that can be quoted: in `STEM_BROKER_URL: redis://app:password@host?a=b` all up to
/// the last character is the name.
std::string quotable(const std::string& key) {
  const auto end = key.find_first_of(":/@");
  return end == key.npos ? printable(key) : printable(key.substr(0, end + 1)) + "…";
}

// Well-formed UTF-8 as Unicode 15, table 3-7 has it: no overlong forms, no surrogates, nothing beyond
// U+10FFFF.
bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    if (lead < 0x80) continue;
    int more = 0;
    unsigned char low = 0x80, high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
      more = 1;
    else if (lead >= 0xE0 && lead <= 0xEF)
      more = 2;
    else if (lead >= 0xF0 && lead <= 0xF4)
      more = 3;
    else
      return false;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
    for (; more > 0; --more, low = 0x80, high = 0xBF) {
      if (at == text.size()) return false;
      const auto next = static_cast<unsigned char>(text[at++]);
      if (next < low || next > high) return false;
    }
  }
  return true;
}

/// Reads one file, front to back. Each method takes up where the last one stopped.
class Reader {
 public:
  Reader(std::string_view text, const std::string& name, EnvFile::WrongLines wrong)
      : text_(text), name_(name), skips_(wrong == EnvFile::WrongLines::skipped) {}

  EnvFile all() {
    if (text_.starts_with("\xEF\xBB\xBF"))
      fail(1, "the file starts with a byte order mark; save it as UTF-8 without one");
    if (const auto nul = text_.find('\0'); nul != text_.npos) {
      for (std::size_t i = 0; i < nul; ++i) line_ += text_[i] == '\n';
      fail(line_, "a NUL byte; remove it, systemd refuses the whole file for it");
    }
    for (;;) {
      while (!done() && is_blank(peek())) take();
      if (done()) return std::move(file_);
      const auto at = at_, line = line_;
      try {
        if (peek() == '#' || peek() == ';')
          comment();
        else
          assignment();
      } catch (const Error& error) {
        if (!skips_) throw;
        file_.warnings.emplace_back(error.what());
        // A quote that is never closed has eaten the rest: what is wrong is this one line.
        at_ = at, line_ = line;
        while (!done() && !is_newline(peek())) take();
      }
    }
  }

 private:
  bool done() const { return at_ == text_.size(); }
  char peek() const { return text_[at_]; }
  char take() {
    line_ += text_[at_] == '\n';
    return text_[at_++];
  }
  [[noreturn]] void fail(std::size_t line, const std::string& message) const {
    throw Error::at(Exit::config, name_, line, message);
  }

  void comment() {
    while (!done()) {
      const auto line = line_;
      const char c = take();
      if (is_newline(c)) return;
      if (c != '\\' || done() || take() != '\n') continue;
      // Up to systemd 253 the next line belongs to the comment, from 254 on it does not.
      auto next = text_.substr(at_, text_.find('\n', at_) - at_);
      while (!next.empty() && is_blank(next.front())) next.remove_prefix(1);
      if (!next.empty() && next.front() != '#' && next.front() != ';')
        fail(line,
             "a comment that ends in a backslash hides the next line from systemd before version 254; "
             "end the comment with another character");
    }
  }

  void assignment() {
    const auto line = line_;
    if (peek() == '=') fail(line, "no name before the `=`; write KEY=value");
    std::string key;
    do {
      if (done() || is_newline(peek()))
        fail(line, "a line without `=`, which systemd would drop; write KEY=value, or # before a comment");
      key += take();
    } while (done() || peek() != '=');
    take();
    while (is_blank(key.back())) key.pop_back();

    if (key.starts_with("export") && key.size() > 6 && is_blank(key[6])) {
      const auto name = key.find_first_not_of(" \t", 6);
      key.erase(0, name);
      file_.warnings.push_back(name_ + ":" + std::to_string(line) +
                               ": `export` is taken here, but systemd drops such a line; remove the word");
    }
    if (!is_variable_name(key))
      fail(line, "`" + quotable(key) +
                     "` is no name of a variable, systemd would drop the line; use letters, digits and _, "
                     "and no digit first");

    auto value = this->value(line);
    if (!is_utf8(value)) fail(line, "the value of " + key + " is not UTF-8; save the file as UTF-8");
    if (key.size() + 1 + value.size() > longest_assignment)
      fail(line, "the value of " + key + " is too long: a program can be given " +
                     std::to_string(longest_assignment) +
                     " bytes with the name; put it into a file of its own");
    file_.entries.push_back({std::move(key), std::move(value), line});
  }

  /// What follows the `=`. Quotes count only at the start of the value or right after a closing quote and
  /// blanks; from the first other character on, the value goes to the end of the line, quotes and all.
  std::string value(std::size_t line) {
    std::string value;
    while (!done()) {
      const char c = take();
      if (is_newline(c)) return value;
      if (c == '\'')
        single_quoted(value, line);
      else if (c == '"')
        double_quoted(value, line);
      else if (!is_blank(c)) {
        --at_;
        plain(value);
        return value;
      }
    }
    return value;
  }

  void single_quoted(std::string& value, std::size_t line) {
    while (!done()) {
      const char c = take();
      if (c == '\'') return;
      value += c;
    }
    unclosed(line);
  }

  void double_quoted(std::string& value, std::size_t line) {
    while (!done()) {
      const char c = take();
      if (c == '"') return;
      if (c != '\\') {
        value += c;
        continue;
      }
      if (done()) break;
      const char escaped = take();
      if (escaped == '\n') continue;
      if (!std::strchr("\"\\`$", escaped)) value += '\\';
      value += escaped;
    }
    unclosed(line);
  }

  [[noreturn]] void unclosed(std::size_t line) const {
    fail(line,
         "a quote is opened and never closed, systemd would take the rest of the file for the value; close "
         "it");
  }

  void plain(std::string& value) {
    std::size_t kept = value.size();  // what is beyond is blanks, cut off at the end of the line
    while (!done()) {
      const char c = take();
      if (is_newline(c)) break;
      if (c == '\\') {
        kept = value.size();  // blanks before a backslash stay
        if (done()) break;
        if (const char escaped = take(); !is_newline(escaped)) value += escaped, kept = value.size();
        continue;
      }
      value += c;
      if (!is_blank(c)) kept = value.size();
    }
    value.resize(kept);
  }

  std::string_view text_;
  const std::string& name_;
  const bool skips_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  EnvFile file_;
};

}  // namespace

EnvFile EnvFile::read(const std::string& path, WrongLines wrong) {
  const auto refuse = [&](int error) -> Error {
    const auto code = error == ENOENT || error == ENOTDIR ? Exit::no_input
                      : error == EACCES || error == EPERM ? Exit::no_permission
                                                          : Exit::no_input;
    const char* fix = error == ENOENT   ? "; create it or name another file"
                      : error == EACCES ? "; make it readable for the user that the worker runs as"
                                        : "";
    return Error(code, "cannot read environment file " + path + ": " + std::strerror(error) + fix);
  };
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file) throw refuse(errno);
  std::string text;
  struct stat status {};
  if (fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    if (static_cast<std::size_t>(status.st_size) > longest_file)
      throw Error::at(Exit::config, path, 1,
                      "the file is larger than 64 MiB, systemd refuses it; is it the right one?");
    text.reserve(static_cast<std::size_t>(status.st_size));
  }
  char block[16384];
  for (;;) {
    const auto count = ::read(file.get(), block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw refuse(errno);
    if (count == 0) break;
    text.append(block, static_cast<std::size_t>(count));
    if (text.size() > longest_file)
      throw Error::at(Exit::config, path, 1,
                      "the file is larger than 64 MiB, systemd refuses it; is it the right one?");
  }
  return parse(text, path, wrong);
}

EnvFile EnvFile::parse(std::string_view text, const std::string& name, WrongLines wrong) {
  return Reader(text, name, wrong).all();
}

void EnvFile::apply_to(Environment& environment) const {
  for (const auto& entry : entries) environment[entry.key] = entry.value;
}

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text = *entry;
    if (const auto equals = text.find('='); equals != text.npos && equals > 0)
      environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

}  // namespace stem
