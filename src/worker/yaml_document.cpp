#include "worker/yaml_document.hpp"

#include <yaml-cpp/eventhandler.h>

#include <sstream>

#include "core/json_text.hpp"

namespace stem {
namespace {

/// Looks at a text without building anything of it. YAML::LoadAll() would build one empty document after the
/// other, for ever, of a text that begins with a comma (yaml-cpp 0.7).
class Look : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents > 1)
      throw YAML::ParserException(mark, "a second document begins here; there is to be one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}

  int documents = 0;
};

/// yaml-cpp takes any bytes for text, and writes others in their place.
void require_utf8(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  for (int number = 0; std::getline(lines, line); ++number)
    if (!is_utf8(line)) {
      YAML::Mark mark;
      mark.line = number;
      throw YAML::ParserException(mark, "this line is not text in UTF-8");
    }
}

}  // namespace

std::optional<YAML::Node> yaml_document(const std::string& text) {
  require_utf8(text);
  std::istringstream in(text);
  YAML::Parser parser(in);
  Look look;
  while (parser.HandleNextDocument(look)) {
  }
  return look.documents == 0 ? std::nullopt : std::optional(YAML::Load(text));
}

}  // namespace stem
