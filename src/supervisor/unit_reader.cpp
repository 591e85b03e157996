#include "supervisor/unit_reader.hpp"

#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <stem/error.hpp>

namespace stem {
namespace {

constexpr auto service = "org.freedesktop.systemd1";
constexpr auto manager_path = "/org/freedesktop/systemd1";
constexpr auto manager = "org.freedesktop.systemd1.Manager";
/// A message bus answers a connection's 129th open question with an error (max_replies_per_connection in
/// dbus-daemon(1)).
constexpr std::size_t open_questions = 100;
constexpr std::uint64_t patience_usec = 25'000'000;

struct Message {
  sd_bus_message* message = nullptr;
  Message() = default;
  ~Message() { sd_bus_message_unref(message); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
};

[[noreturn]] void unreachable(const Manager& manager, int error) {
  if (!manager.host.empty())
    throw Error(Exit::unavailable, "cannot ask the service manager of " + manager.host + ": " +
                                       std::strerror(-error) + "; see that `" +
                                       Manager(Scope::system, manager.host).command("systemd-stdio-bridge") +
                                       "` connects without a question");
  const auto scope = manager.scope;
  throw Error(
      Exit::unavailable,
      std::string("cannot ask the ") + (scope == Scope::system ? "system" : "user") +
          " service manager: " + std::strerror(-error) +
          (scope == Scope::user ? "; it runs while you are logged in, or after `loginctl enable-linger`"
                                : "; is systemd running here?"));
}

sd_bus* connect_private(const Manager& manager) {
  if (!manager.host.empty()) return nullptr;
  const auto path = private_socket(manager.scope);
  sd_bus* bus = nullptr;
  if (access(path.c_str(), W_OK) != 0 || sd_bus_new(&bus) < 0) return nullptr;
  if (sd_bus_set_address(bus, ("unix:path=" + path).c_str()) >= 0 && sd_bus_start(bus) >= 0) return bus;
  return sd_bus_close_unref(bus);
}

/// The value inside the variant that `Get` answers with.
class Value {
 public:
  explicit Value(sd_bus_message* message) : message_(message) {}

  std::string text() const {
    const char* value = "";
    read("s", &value);
    return value;
  }
  template <typename Number>
  Number number(const char* type) const {
    Number value{};
    read(type, &value);
    return value;
  }
  std::string hex_bytes() const {
    const void* data = nullptr;
    std::size_t size = 0;
    std::string text;
    if (sd_bus_message_enter_container(message_, 'v', "ay") <= 0 ||
        sd_bus_message_read_array(message_, 'y', &data, &size) < 0)
      return text;
    for (std::size_t i = 0; i < size; ++i) {
      static constexpr char digits[] = "0123456789abcdef";
      const auto byte = static_cast<const unsigned char*>(data)[i];
      text += {digits[byte >> 4], digits[byte & 15]};
    }
    return text;
  }

 private:
  template <typename T>
  void read(const char* type, T* value) const {
    if (sd_bus_message_enter_container(message_, 'v', type) > 0) sd_bus_message_read(message_, type, value);
  }
  sd_bus_message* message_;
};

std::optional<Duration> age_of(std::uint64_t monotonic_usec) {
  if (monotonic_usec == 0) return std::nullopt;
  const auto now = std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch());
  return std::max(now - Duration{static_cast<std::int64_t>(monotonic_usec)}, Duration{});
}

/// One property: where it is, which part it belongs to, and how it is taken over.
struct Property {
  unsigned parts;
  const char* interface;
  const char* name;
  void (*take)(UnitFacts&, const Value&);
};

constexpr auto of_unit = "org.freedesktop.systemd1.Unit";
constexpr auto of_service = "org.freedesktop.systemd1.Service";

constexpr Property properties[] = {
    {UnitReader::state, of_unit, "LoadState", [](UnitFacts& f, const Value& v) { f.load_state = v.text(); }},
    {UnitReader::state, of_unit, "ActiveState",
     [](UnitFacts& f, const Value& v) { f.active_state = v.text(); }},
    {UnitReader::state, of_unit, "SubState", [](UnitFacts& f, const Value& v) { f.sub_state = v.text(); }},
    {UnitReader::pid, of_service, "MainPID",
     [](UnitFacts& f, const Value& v) { f.main_pid = static_cast<pid_t>(v.number<std::uint32_t>("u")); }},
    {UnitReader::life, of_service, "StatusText",
     [](UnitFacts& f, const Value& v) { f.status_text = v.text(); }},
    {UnitReader::life, of_service, "NRestarts",
     [](UnitFacts& f, const Value& v) { f.restarts = v.number<std::uint32_t>("u"); }},
    {UnitReader::life | UnitReader::watchdog, of_service, "WatchdogTimestampMonotonic",
     [](UnitFacts& f, const Value& v) { f.watchdog_age = age_of(v.number<std::uint64_t>("t")); }},
    {UnitReader::watchdog, of_service, "WatchdogUSec",
     [](UnitFacts& f, const Value& v) {
       const auto limit = v.number<std::uint64_t>("t");
       f.watchdog_limit = Duration{limit == UINT64_MAX ? 0 : static_cast<std::int64_t>(limit)};
     }},
    {UnitReader::since, of_unit, "ActiveEnterTimestamp",
     [](UnitFacts& f, const Value& v) {
       if (const auto at = v.number<std::uint64_t>("t"))
         f.active_since = WallTime{Duration{static_cast<std::int64_t>(at)}};
     }},
    {UnitReader::failure, of_service, "Result", [](UnitFacts& f, const Value& v) { f.result = v.text(); }},
    {UnitReader::failure, of_service, "ExecMainCode",
     [](UnitFacts& f, const Value& v) { f.exit_code = v.number<std::int32_t>("i"); }},
    {UnitReader::failure, of_service, "ExecMainStatus",
     [](UnitFacts& f, const Value& v) { f.exit_status = v.number<std::int32_t>("i"); }},
    {UnitReader::failure, of_service, "ExecMainPID",
     [](UnitFacts& f, const Value& v) { f.last_pid = static_cast<pid_t>(v.number<std::uint32_t>("u")); }},
    {UnitReader::failure | UnitReader::started, of_service, "ExecMainStartTimestamp",
     [](UnitFacts& f, const Value& v) {
       if (const auto at = v.number<std::uint64_t>("t"))
         f.last_started = WallTime{Duration{static_cast<std::int64_t>(at)}};
     }},
    {UnitReader::memory, of_service, "MemoryCurrent",
     [](UnitFacts& f, const Value& v) {
       if (const auto bytes = v.number<std::uint64_t>("t"); bytes != UINT64_MAX) f.memory = bytes;
     }},
    {UnitReader::invocation, of_unit, "InvocationID",
     [](UnitFacts& f, const Value& v) { f.invocation = v.hex_bytes(); }},
};

struct Question {
  UnitFacts* facts;
  const Property* property;
  std::size_t* answered;
};

int take_answer(sd_bus_message* answer, void* data, sd_bus_error*) {
  auto& question = *static_cast<Question*>(data);
  ++*question.answered;
  if (!sd_bus_message_is_method_error(answer, nullptr))
    question.property->take(*question.facts, Value(answer));
  return 0;
}

std::string object_path(const std::string& unit) {
  char* path = nullptr;
  if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit.c_str(), &path) < 0) throw std::bad_alloc();
  std::string text = path;
  std::free(path);
  return text;
}

}  // namespace

void UnitReader::Close::operator()(sd_bus* bus) const {
  sd_bus_close_unref(bus);
}

sd_bus* connect_manager(const Manager& manager) {
  if (auto* bus = connect_private(manager)) return bus;
  sd_bus* bus = nullptr;
  int r = !manager.host.empty()            ? sd_bus_open_system_remote(&bus, manager.host.c_str())
          : manager.scope == Scope::system ? sd_bus_open_system(&bus)
                                           : sd_bus_open_user(&bus);
  if (r < 0) unreachable(manager, r);
  // Of ssh it is only known now whether it got there.
  sd_id128_t id;
  if (!manager.host.empty()) r = sd_bus_get_bus_id(bus, &id);
  if (r < 0) {
    sd_bus_close_unref(bus);
    unreachable(manager, r);
  }
  return bus;
}

UnitReader::UnitReader(const Manager& manager) : bus_(connect_manager(manager)) {}

UnitReader::~UnitReader() = default;

std::vector<UnitFacts> UnitReader::list(const std::vector<std::string>& patterns) {
  Message call, answer;
  std::vector<char*> words;
  for (const auto& pattern : patterns) words.push_back(const_cast<char*>(pattern.c_str()));
  words.push_back(nullptr);
  int r = sd_bus_message_new_method_call(bus_.get(), &call.message, service, manager_path, manager,
                                         "ListUnitsByPatterns");
  if (r >= 0) r = sd_bus_message_append(call.message, "as", 0);
  if (r >= 0) r = sd_bus_message_append_strv(call.message, words.data());
  if (r >= 0) r = sd_bus_call(bus_.get(), call.message, patience_usec, nullptr, &answer.message);
  if (r >= 0) r = sd_bus_message_enter_container(answer.message, 'a', "(ssssssouso)");
  std::vector<UnitFacts> found;
  while (r >= 0) {
    const char *name, *description, *load, *active, *sub, *followed, *path, *job_type, *job_path;
    std::uint32_t job = 0;
    r = sd_bus_message_read(answer.message, "(ssssssouso)", &name, &description, &load, &active, &sub,
                            &followed, &path, &job, &job_type, &job_path);
    if (r == 0) return found;
    if (r < 0) break;
    UnitFacts facts;
    facts.unit = name;
    facts.load_state = load;
    facts.active_state = active;
    facts.sub_state = sub;
    facts.job_pending = job != 0;
    found.push_back(std::move(facts));
  }
  throw Error(Exit::unavailable,
              std::string("the service manager does not list its units: ") + std::strerror(-r));
}

std::vector<UnitFacts> UnitReader::find(const std::vector<std::string>& units) {
  // The manager tries each pattern on each unit: a few names are asked by name, many by what they have in
  // common.
  std::map<std::string, UnitFacts> known;
  if (!units.empty())
    for (auto& facts : list(units.size() <= 4 ? units : std::vector<std::string>{unit_of("*")}))
      known.emplace(facts.unit, std::move(facts));
  std::vector<UnitFacts> found;
  for (const auto& unit : units) {
    const auto at = known.find(unit);
    found.push_back(at == known.end() ? UnitFacts{} : at->second);
    found.back().unit = unit;
  }
  return found;
}

void UnitReader::fill(const std::vector<Request>& requests) {
  std::vector<Question> questions;
  std::size_t answered = 0;
  for (const auto& request : requests)
    for (const auto& property : properties)
      if (property.parts & request.parts) questions.push_back({request.facts, &property, &answered});

  std::string path;
  const UnitFacts* path_of = nullptr;
  std::size_t asked = 0;
  while (answered < questions.size()) {
    while (asked < questions.size() && asked - answered < open_questions) {
      auto& question = questions[asked++];
      if (question.facts != path_of) {
        path_of = question.facts;
        path = object_path(question.facts->unit);
      }
      const int r = sd_bus_call_method_async(bus_.get(), nullptr, service, path.c_str(),
                                             "org.freedesktop.DBus.Properties", "Get", take_answer, &question,
                                             "ss", question.property->interface, question.property->name);
      if (r < 0)
        throw Error(Exit::unavailable,
                    std::string("the connection to the service manager broke: ") + std::strerror(-r));
    }
    int r;
    while ((r = sd_bus_process(bus_.get(), nullptr)) > 0) {
    }
    // Nothing open means that all answers were in the last gulp: there is nothing to wait for.
    if (r >= 0 && answered < asked) r = sd_bus_wait(bus_.get(), patience_usec);
    if (r < 0)
      throw Error(Exit::unavailable,
                  std::string("the connection to the service manager broke: ") + std::strerror(-r));
  }
}

}  // namespace stem
