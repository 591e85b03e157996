#include "worker/routing_file.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"
#include "worker/yaml_document.hpp"

namespace stem {
namespace {

constexpr std::size_t longest_file = 1 << 20;
constexpr std::size_t most_values =
    100'000;  // an alias may stand for a thousand values, and they for a thousand each

/// `priority_range` for `priorityRange`: both are read.
std::string snake(const std::string& key) {
  std::string text;
  for (const char c : key) {
    if (c >= 'A' && c <= 'Z') text += '_';
    text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return text;
}

class Reader {
 public:
  Reader(const std::string& file, RoutingFile& into)
      : file_(file), routing_(into.routing), warnings_(into.warnings) {}

  void read(const std::string& text) {
    std::optional<YAML::Node> document;
    try {
      document = yaml_document(text);
    } catch (const YAML::Exception& error) {
      refuse(error.mark, "not YAML: " + printable(error.msg));
    }
    if (!document || document->IsNull()) return;
    entries(*document, "a routing file",
            {{"version",
              [&](const auto& at) {
                if (word(at) != "1") refuse(at, "version must be 1; this Stem reads no other");
              }},
             {"default_queue", [&](const auto& at) { default_queue(at); }},
             {"queues", [&](const auto& at) { queues(at); }},
             {"broadcasts", [&](const auto& at) { broadcasts(at); }},
             {"routes", [&](const auto& at) { routes(at); }}});
    settle();
  }

 private:
  using Entry = std::function<void(const YAML::Node&)>;

  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& what) const {
    throw Error::at(Exit::config, file_, line_of(mark), what);
  }
  [[noreturn]] void refuse(const YAML::Node& at, const std::string& what) const { refuse(at.Mark(), what); }
  static std::size_t line_of(const YAML::Mark& mark) {
    return mark.line < 0 ? 1 : static_cast<std::size_t>(mark.line) + 1;
  }

  void count(const YAML::Node& at) {
    if (++values_ > most_values)
      refuse(at, "too many values; does an alias stand for itself many times over?");
  }

  /// Every key of a map, once, by the function that takes it; a null one means nothing here.
  void entries(const YAML::Node& map, const std::string& what,
               const std::vector<std::pair<std::string, Entry>>& known) {
    members(map, what, [&](const std::string& written, const YAML::Node& key, const YAML::Node& value) {
      const auto name = snake(written);
      for (const auto& [one, take] : known) {
        if (one != name) continue;
        if (take) return take(value);
        warnings_.push_back(file_ + ":" + std::to_string(line_of(key.Mark())) + ": " + written +
                            " means nothing to Stem's brokers");
        return;
      }
      std::vector<std::string_view> names;
      for (const auto& one : known) names.push_back(one.first);
      const auto like = nearest(name, names);
      refuse(key, "unknown key '" + printable(written) + "' in " + what +
                      (like.empty() ? "" : "; did you mean " + std::string(like) + "?"));
    });
  }

  void members(const YAML::Node& map, const std::string& what,
               const std::function<void(const std::string&, const YAML::Node&, const YAML::Node&)>& take) {
    if (!map.IsMap()) refuse(map, what + " must be a map");
    std::set<std::string> seen;
    for (const auto& pair : map) {
      count(pair.first);
      if (!pair.first.IsScalar()) refuse(pair.first, "a key must be text");
      const auto& key = pair.first.Scalar();
      if (!seen.insert(snake(key)).second) refuse(pair.first, "key '" + printable(key) + "' is there twice");
      take(key, pair.first, pair.second);
    }
  }

  std::string word(const YAML::Node& at) {
    count(at);
    if (!at.IsScalar()) refuse(at, "a single word is expected here");
    return at.Scalar();
  }

  std::string name(const YAML::Node& at, const char* kind) {
    const auto text = word(at);
    if (is_name(text)) return text;
    try {
      require_name(kind, text);
    } catch (const Error& error) {
      refuse(at, error.what());
    }
    return text;
  }

  int priority(const YAML::Node& at) {
    const auto text = word(at);
    int number = 0;
    const auto* const end = text.data() + text.size();
    if (const auto [rest, error] = std::from_chars(text.data(), end, number);
        error == std::errc{} && rest == end && number >= 0 && number <= 9)
      return number;
    refuse(at, "a priority is a number from 0 to 9, not '" + printable(text) + "'");
  }

  void default_queue(const YAML::Node& at) {
    default_at_ = at.Mark();
    if (!at.IsMap()) {
      routing_.default_queue = name(at, "queue");
      return;
    }
    bool named = false;
    entries(at, "default_queue",
            {{"alias", [&](const auto& one) { routing_.default_alias = name(one, "queue"); }},
             {"queue",
              [&](const auto& one) {
                routing_.default_queue = name(one, "queue");
                named = true;
              }},
             {"fallbacks", nullptr}});
    if (!named) refuse(at, "default_queue has no `queue`");
  }

  PriorityRange range(const YAML::Node& at) {
    PriorityRange range;
    if (at.IsSequence() && at.size() == 2) {
      range = {priority(at[0]), priority(at[1])};
    } else if (at.IsMap()) {
      entries(at, "priority_range",
              {{"min", [&](const auto& one) { range.lowest = priority(one); }},
               {"max", [&](const auto& one) { range.highest = priority(one); }}});
    } else {
      refuse(at, "priority_range is [LOWEST, HIGHEST]");
    }
    if (range.lowest > range.highest) refuse(at, "priority_range begins above its end");
    return range;
  }

  void queues(const YAML::Node& at) {
    queues_said_ = true;
    members(at, "queues", [&](const std::string&, const YAML::Node& key, const YAML::Node& value) {
      auto& queue = routing_.queues[name(key, "queue")];
      if (value.IsNull()) return;
      entries(value, "a queue",
              {{"priority_range", [&](const auto& one) { queue = range(one); }},
               {"exchange", nullptr},
               {"routing_key", nullptr},
               {"bindings", nullptr},
               {"meta", nullptr}});
    });
  }

  void broadcasts(const YAML::Node& at) {
    members(at, "broadcasts", [&](const std::string&, const YAML::Node& key, const YAML::Node& value) {
      auto& ttl = routing_.broadcasts[name(key, "channel")];
      ttl = std::chrono::hours{1};
      if (value.IsNull()) return;
      entries(value, "a broadcast",
              {{"ttl",
                [&](const auto& one) {
                  const auto text = word(one);
                  try {
                    ttl = parse_duration(text);
                  } catch (const Error& error) {
                    refuse(one, "ttl: " + std::string(error.what()));
                  }
                  if (ttl <= Duration::zero()) refuse(one, "ttl must be above 0");
                }},
               {"delivery",
                [&](const auto& one) {
                  if (word(one) != "at-least-once")
                    refuse(one, "delivery is at-least-once; there is no other");
                }},
               {"durability", nullptr},
               {"meta", nullptr}});
    });
  }

  void match(const YAML::Node& at, Route& route) {
    const auto glob = [&](const YAML::Node& one) {
      const auto text = word(one);
      if (text.empty()) refuse(one, "an empty pattern fits no task");
      route.tasks.push_back(text);
    };
    entries(at, "match",
            {{"task",
              [&](const auto& one) {
                if (!one.IsSequence()) return glob(one);
                if (one.size() == 0) refuse(one, "task is a pattern or a list of them; this list is empty");
                for (const auto& pattern : one) glob(pattern);
              }},
             {"headers",
              [&](const auto& one) {
                members(one, "headers",
                        [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
                          route.headers[key] = word(value);
                        });
              }},
             {"queue_override", [&](const auto& one) { route.queue = name(one, "queue"); }}});
  }

  void target(const YAML::Node& at, Route& route) {
    std::string type = "queue";
    entries(at, "target",
            {{"type",
              [&](const auto& one) {
                type = word(one);
                if (type != "queue" && type != "broadcast")
                  refuse(one, "type is queue or broadcast, not '" + printable(type) + "'");
              }},
             {"name", [&](const auto& one) { route.target = name(one, "queue"); }}});
    if (route.target.empty()) refuse(at, "target has no `name`");
    route.to_everyone = type == "broadcast";
    targets_.emplace_back(at.Mark(), route.target, route.to_everyone);
  }

  void routes(const YAML::Node& at) {
    if (!at.IsSequence()) refuse(at, "routes must be a list");
    for (const auto& node : at) {
      Route route;
      entries(node, "a route",
              {{"match", [&](const auto& one) { match(one, route); }},
               {"target", [&](const auto& one) { target(one, route); }},
               {"priority_override", [&](const auto& one) { route.priority = priority(one); }},
               {"options", nullptr}});
      if (route.target.empty()) refuse(node, "a route has no `target`");
      routing_.routes.push_back(std::move(route));
    }
  }

  /// What can be said only when all is read: that what is referred to is there.
  void settle() {
    if (queues_said_ && !routing_.queues.contains(routing_.default_queue))
      refuse(default_at_, "the default queue '" + routing_.default_queue + "' is not among `queues`");
    routing_.queues.try_emplace(routing_.default_queue);
    if (routing_.default_alias != routing_.default_queue && routing_.queues.contains(routing_.default_alias))
      if (routing_.default_alias != "default")
        refuse(default_at_, "alias '" + routing_.default_alias + "' is the name of another queue");
    for (auto& route : routing_.routes) {
      if (!route.queue.empty()) route.queue = routing_.queue_called(route.queue);
      if (!route.to_everyone) route.target = routing_.queue_called(route.target);
    }
    for (const auto& [mark, name, to_everyone] : targets_)
      if (to_everyone ? !routing_.broadcasts.contains(name)
                      : !routing_.queues.contains(routing_.queue_called(name)))
        refuse(mark, std::string(to_everyone ? "broadcast" : "queue") + " '" + name + "' is not among `" +
                         (to_everyone ? "broadcasts" : "queues") + "`");
  }

  const std::string& file_;
  Routing& routing_;
  std::vector<std::string>& warnings_;
  std::vector<std::tuple<YAML::Mark, std::string, bool>> targets_;
  YAML::Mark default_at_;
  bool queues_said_ = false;
  std::size_t values_ = 0;
};

}  // namespace

RoutingFile read_routing(const std::string& file, const std::string& text, const std::string& default_queue) {
  RoutingFile read;
  read.routing.default_queue = default_queue;
  Reader(file, read).read(text);
  read.routing.queues.try_emplace(read.routing.default_queue);
  return read;
}

RoutingFile routing_of(const Config& config) {
  const auto& path = config.routing_file;
  if (path.empty()) {
    RoutingFile none;
    none.routing.default_queue = config.default_queue;
    return none;
  }
  std::ifstream file(path);
  std::string text;
  if (file) text.assign(std::istreambuf_iterator<char>(file), {});
  if (!file || file.bad())
    throw Error(errno == EACCES ? Exit::no_permission : Exit::no_input,
                "cannot read the routing file " + path + ": " + std::strerror(errno) +
                    "; correct STEM_ROUTING_CONFIG");
  if (text.size() > longest_file)
    throw Error(Exit::config, "the routing file " + path + " is larger than 1 MiB");
  return read_routing(path, text, config.default_queue);
}

std::string to_yaml(const Routing& routing) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "default_queue" << YAML::Value;
  if (routing.default_alias == "default")
    out << routing.default_queue;
  else
    out << YAML::BeginMap << YAML::Key << "alias" << YAML::Value << routing.default_alias << YAML::Key
        << "queue" << YAML::Value << routing.default_queue << YAML::EndMap;
  if (!routing.queues.empty()) out << YAML::Key << "queues" << YAML::Value << YAML::BeginMap;
  for (const auto& [name, range] : routing.queues)
    out << YAML::Key << name << YAML::Value << YAML::BeginMap << YAML::Key << "priority_range" << YAML::Value
        << YAML::Flow << YAML::BeginSeq << range.lowest << range.highest << YAML::EndSeq << YAML::EndMap;
  if (!routing.queues.empty()) out << YAML::EndMap;
  if (!routing.broadcasts.empty()) {
    out << YAML::Key << "broadcasts" << YAML::Value << YAML::BeginMap;
    for (const auto& [name, ttl] : routing.broadcasts)
      out << YAML::Key << name << YAML::Value << YAML::BeginMap << YAML::Key << "ttl" << YAML::Value
          << format_duration(ttl) << YAML::EndMap;
    out << YAML::EndMap;
  }
  if (!routing.routes.empty()) {
    out << YAML::Key << "routes" << YAML::Value << YAML::BeginSeq;
    for (const auto& route : routing.routes) {
      out << YAML::BeginMap << YAML::Key << "match" << YAML::Value << YAML::BeginMap;
      if (!route.tasks.empty()) out << YAML::Key << "task" << YAML::Value << YAML::Flow << route.tasks;
      if (!route.headers.empty()) {
        out << YAML::Key << "headers" << YAML::Value << YAML::BeginMap;
        for (const auto& [key, value] : route.headers)
          out << YAML::Key << YAML::DoubleQuoted << key << YAML::Value << YAML::DoubleQuoted << value;
        out << YAML::EndMap;
      }
      if (!route.queue.empty()) out << YAML::Key << "queue_override" << YAML::Value << route.queue;
      out << YAML::EndMap << YAML::Key << "target" << YAML::Value << YAML::Flow << YAML::BeginMap << YAML::Key
          << "type" << YAML::Value << (route.to_everyone ? "broadcast" : "queue") << YAML::Key << "name"
          << YAML::Value << route.target << YAML::EndMap;
      if (route.priority) out << YAML::Key << "priority_override" << YAML::Value << *route.priority;
      out << YAML::EndMap;
    }
    out << YAML::EndSeq;
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace stem
