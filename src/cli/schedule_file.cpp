#include "cli/schedule_file.hpp"

#include <map>
#include <set>
#include <stem/error.hpp>

#include "cli/yaml_scalar.hpp"
#include "core/name.hpp"
#include "worker/yaml_document.hpp"

namespace stem::cli {
namespace {

constexpr int deepest = 100;
constexpr std::size_t most_values =
    5'000'000;  // an alias may stand for a thousand values, and they for a thousand each

/// From YAML to values; errors know the place.
class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& what) const {
    throw Error::at(Exit::data, file_, line_of(mark), title_.empty() ? what : title_ + ": " + what);
  }

  /// What the values that are read from now on belong to.
  void entitle(std::string title) { title_ = std::move(title); }

  static std::size_t line_of(const YAML::Mark& mark) {
    return mark.line < 0 ? 1 : static_cast<std::size_t>(mark.line) + 1;
  }

  Json value(const YAML::Node& node, int depth = 0) {
    if (depth > deepest) refuse(node.Mark(), "values are nested too deeply");
    if (++values_ > most_values)
      refuse(node.Mark(), "too many values; does an alias stand for itself many times over?");
    switch (node.Type()) {
      case YAML::NodeType::Sequence: {
        auto list = Json::array();
        for (const auto& item : node) list.push_back(value(item, depth + 1));
        return list;
      }
      case YAML::NodeType::Map: {
        auto object = Json::object();
        for (const auto& pair : node) {
          if (!pair.first.IsScalar()) refuse(pair.first.Mark(), "a key must be text");
          const auto& key = pair.first.Scalar();
          if (key == "<<") refuse(pair.first.Mark(), "merge keys (<<) are not supported; write the keys out");
          if (object.contains(key)) refuse(pair.first.Mark(), "key '" + printable(key) + "' is there twice");
          object[key] = value(pair.second, depth + 1);
        }
        return object;
      }
      case YAML::NodeType::Scalar:
        return scalar(node);
      default:
        return nullptr;
    }
  }

 private:
  Json scalar(const YAML::Node& node) const {
    if (node.Tag() != "?" && !node.Tag().empty()) return node.Scalar();  // quoted
    try {
      return yaml_scalar(node.Scalar());
    } catch (const Error& error) {
      refuse(node.Mark(), error.what());
    }
  }

  const std::string& file_;
  std::string title_;
  std::size_t values_ = 0;
};

/// `schedule 'nightly'`, or the number of its place in the list.
std::string title_of(const YAML::Node& node, std::size_t index) {
  if (node.IsMap())
    for (const char* key : {"name", "id"})
      if (const auto name = node[key]; name && name.IsScalar())
        return "schedule '" + printable(name.Scalar()) + "'";
  return "schedule " + std::to_string(index + 1);
}

/// The line of the key that `message` begins with, or of the entry itself.
YAML::Mark place_of(const YAML::Node& node, const std::string& message) {
  auto mark = node.Mark();
  if (!node.IsMap()) return mark;
  const auto word = message.starts_with("unknown key '") ? message.substr(13, message.find('\'', 13) - 13)
                                                         : message.substr(0, message.find_first_of(" :"));
  const bool in_schedule = word == "schedule" || word == "cron" || word == "calendar" || word == "a" ||
                           word == "unknown" || word == "every" || word == "months" || word == "weekdays" ||
                           word == "monthdays" || word == "hours" || word == "minutes" || word == "seconds" ||
                           word == "an";
  const bool in_zone = message.find("is not a time zone") != std::string::npos;
  for (const auto& pair : node) {
    const auto& key = pair.first.Scalar();
    if (in_zone ? key == "timezone" : key == word || (in_schedule && (key == "schedule" || key == "spec")))
      return pair.first.Mark();
  }
  return mark;
}

YAML::Node list_in(const Reader& reader, const YAML::Node& root) {
  if (root.IsSequence()) return root;
  if (!root.IsMap())
    reader.refuse(root.Mark(), "expected a list of schedules, or an object with the key `schedules`");
  YAML::Node list;
  bool found = false;
  for (const auto& pair : root) {
    const auto key = pair.first.IsScalar() ? pair.first.Scalar() : "";
    if (key == "version") {
      if (!pair.second.IsScalar() || pair.second.Scalar() != "1")
        reader.refuse(pair.first.Mark(), "version must be 1; this Stem reads no other");
    } else if (key == "schedules" || key == "entries") {
      if (found) reader.refuse(pair.first.Mark(), "there is a list of schedules already");
      if (!pair.second.IsSequence()) reader.refuse(pair.first.Mark(), key + " must be a list");
      list.reset(pair.second);
      found = true;
    } else {
      reader.refuse(pair.first.Mark(),
                    "unknown key '" + printable(key) + "'; beside `schedules` there is `version`");
    }
  }
  if (!found) reader.refuse(root.Mark(), "the key `schedules` is missing");
  return list;
}

}  // namespace

std::vector<FiledSchedule> read_schedules(const std::string& file, const std::string& text) {
  Reader reader(file);
  try {
    const auto document = yaml_document(text);
    if (!document) throw Error::at(Exit::data, file, 1, "the file is empty; an empty list is written []");
    const auto list = list_in(reader, *document);
    std::vector<FiledSchedule> schedules;
    std::map<std::string, std::size_t> lines;
    std::size_t index = 0;
    for (const auto& node : list) {
      reader.entitle(title_of(node, index++));
      FiledSchedule filed;
      filed.line = Reader::line_of(node.Mark());
      const auto object = reader.value(node);
      try {
        filed.entry = schedule_entry_from(object, &filed.says_enabled);
        (void)to_wire(filed.entry);
      } catch (const Error& error) {
        reader.refuse(place_of(node, error.what()), error.what());
      }
      const auto [first, added] = lines.emplace(filed.entry.name, filed.line);
      if (!added) reader.refuse(node.Mark(), "the name is taken, by line " + std::to_string(first->second));
      schedules.push_back(std::move(filed));
    }
    return schedules;
  } catch (const YAML::Exception& error) {
    reader.refuse(error.mark, "not readable as YAML or JSON: " + printable(error.msg));
  }
}

}  // namespace stem::cli
