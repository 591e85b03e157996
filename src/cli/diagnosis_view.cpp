#include "cli/diagnosis_view.hpp"

#include <string_view>

namespace stem::cli {
namespace {

constexpr std::size_t indent = 9;  // "warning" and two blanks

std::size_t width(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (c & 0xc0) != 0x80;
  return count;
}

/// `text` in lines of `columns` that start with `indent` blanks; the first one follows what is there already.
std::string wrapped(const std::string& text, std::size_t columns) {
  if (columns < 3 * indent) return text;
  std::string out;
  std::size_t at = indent;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find(' ', begin), text.size());
    const auto word = text.substr(begin, end - begin);
    const auto length = width(word);
    if (at > indent && at + 1 + length > columns) {
      out += '\n' + std::string(indent, ' ');
      at = indent;
    } else if (at > indent) {
      out += ' ';
      ++at;
    }
    out += word;
    at += length;
    begin = end + 1;
  }
  return out;
}

class View {
 public:
  View(const Diagnosis& diagnosis, const DiagnosisLook& look) : diagnosis_(diagnosis), look_(look) {}

  std::string text() {
    headline();
    for (const auto& one : diagnosis_.results)
      if (one.finding.severity != Severity::ok || look_.all) entry(one);
    if (!look_.all) names_of_fine();
    if (diagnosis_.worst() != Severity::ok)
      out_ += '\n' + std::string("The sections are those of stem-daemonization(7).\n");
    return std::move(out_);
  }

 private:
  std::string painted(const std::string& text, const char* code) const {
    return look_.colour ? "\x1b[" + std::string(code) + "m" + text + "\x1b[0m" : text;
  }

  static std::string counted(std::size_t count, const std::string& what) {
    return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
  }

  void headline() {
    const auto errors = diagnosis_.count(Severity::error), warnings = diagnosis_.count(Severity::warning);
    out_ += diagnosis_.node + ": ";
    out_ += errors ? painted(counted(errors, "error"), "1;31") : "no error";
    out_ += ", " + (warnings ? painted(counted(warnings, "warning"), "33") : std::string("no warning"));
    out_ += "; " + counted(diagnosis_.count(Severity::ok), "check") + " fine, " +
            std::to_string(diagnosis_.skipped()) + " did not apply\n\n";
  }

  void label(const std::string& word, const char* code) {
    out_ += painted(word, code) + std::string(indent - word.size(), ' ');
  }

  void entry(const Diagnosed& one) {
    const auto& [check, finding] = one;
    if (finding.skipped)
      label("-", "2");
    else if (finding.severity == Severity::error)
      label("error", "1;31");
    else if (finding.severity == Severity::warning)
      label("warning", "33");
    else
      label("ok", "32");
    out_ += wrapped(std::string(check->id) + ": " + finding.text, look_.columns) + '\n';
    if (finding.severity == Severity::ok) return;
    const std::string margin(indent, ' ');
    if (!finding.fix.empty()) out_ += margin + wrapped("Fix: " + finding.fix, look_.columns) + '\n';
    out_ += margin + painted("See: " + std::string(check->section), "2") + "\n";
  }

  void names_of_fine() {
    std::string list;
    for (const auto& [check, finding] : diagnosis_.results)
      if (finding.severity == Severity::ok && !finding.skipped)
        list += (list.empty() ? "" : ", ") + std::string(check->id);
    if (list.empty()) return;
    label("ok", "32");
    out_ += wrapped(list, look_.columns) + '\n';
  }

  const Diagnosis& diagnosis_;
  const DiagnosisLook& look_;
  std::string out_;
};

}  // namespace

std::string diagnosis_text(const Diagnosis& diagnosis, const DiagnosisLook& look) {
  return View(diagnosis, look).text();
}

}  // namespace stem::cli
