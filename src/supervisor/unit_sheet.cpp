#include "supervisor/unit_sheet.hpp"

#include <systemd/sd-bus.h>

#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stem/error.hpp>

#include "supervisor/unit_reader.hpp"

namespace stem {
namespace {

constexpr std::uint64_t patience_usec = 10'000'000;

struct Close {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
struct Release {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Message = std::unique_ptr<sd_bus_message, Release>;

std::string text(sd_bus_message* m) {
  const char* value = "";
  sd_bus_message_read_basic(m, 's', &value);
  return value;
}
std::uint64_t number64(sd_bus_message* m) {
  std::uint64_t value = 0;
  sd_bus_message_read_basic(m, 't', &value);
  return value;
}
std::uint32_t number32(sd_bus_message* m) {
  std::uint32_t value = 0;
  sd_bus_message_read_basic(m, 'u', &value);
  return value;
}
std::int32_t signed32(sd_bus_message* m) {
  std::int32_t value = 0;
  sd_bus_message_read_basic(m, 'i', &value);
  return value;
}
bool flag(sd_bus_message* m) {
  int value = 0;
  sd_bus_message_read_basic(m, 'b', &value);
  return value != 0;
}
Duration length(sd_bus_message* m) {
  const auto usec = number64(m);
  return Duration{usec > INT64_MAX ? 0 : static_cast<std::int64_t>(usec)};
}

/// Calls `one` for each element of the array that comes next, whose elements have the signature `type`.
void each(sd_bus_message* m, const char* type, const std::function<void()>& one) {
  if (sd_bus_message_enter_container(m, 'a', type) <= 0) return;
  while (sd_bus_message_at_end(m, 0) == 0) {
    const bool is_struct = *type == '(';
    const std::string inner = is_struct ? std::string(type + 1, std::strlen(type) - 2) : std::string();
    if (is_struct && sd_bus_message_enter_container(m, 'r', inner.c_str()) <= 0) break;
    one();
    if (is_struct && sd_bus_message_exit_container(m) < 0) break;
  }
  sd_bus_message_exit_container(m);
}
std::vector<std::string> texts(sd_bus_message* m) {
  std::vector<std::string> all;
  each(m, "s", [&] { all.push_back(text(m)); });
  return all;
}

struct Property {
  const char* type;
  void (*take)(UnitSheet&, sd_bus_message*);
};
using S = UnitSheet;
using M = sd_bus_message;

void take_exec_start(S& sheet, M* m) {
  each(m, "(sasbttttuii)", [&] {
    text(m);  // the program, which is also the first argument unless the unit says `@`
    auto words = texts(m);
    if (sheet.exec_start.empty()) sheet.exec_start = std::move(words);
    sd_bus_message_skip(m, "bttttuii");
  });
}

void take_credentials(S& sheet, M* m, bool encrypted) {
  each(m, "(ss)", [&] {
    auto id = text(m);
    auto path = text(m);
    sheet.credentials.push_back({std::move(id), std::move(path), encrypted});
  });
}

const std::map<std::string_view, Property>& properties() {
  static const std::map<std::string_view, Property> all{
      {"LoadState", {"s", [](S& s, M* m) { s.facts.load_state = text(m); }}},
      {"ActiveState", {"s", [](S& s, M* m) { s.facts.active_state = text(m); }}},
      {"SubState", {"s", [](S& s, M* m) { s.facts.sub_state = text(m); }}},
      {"MainPID", {"u", [](S& s, M* m) { s.facts.main_pid = static_cast<pid_t>(number32(m)); }}},
      {"StatusText", {"s", [](S& s, M* m) { s.facts.status_text = text(m); }}},
      {"NRestarts", {"u", [](S& s, M* m) { s.facts.restarts = number32(m); }}},
      {"WatchdogUSec", {"t", [](S& s, M* m) { s.facts.watchdog_limit = length(m); }}},
      {"WatchdogTimestampMonotonic",
       {"t",
        [](S& s, M* m) {
          if (const auto at = number64(m)) {
            const auto now =
                std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch());
            s.facts.watchdog_age = std::max(now - Duration{static_cast<std::int64_t>(at)}, Duration{});
          }
        }}},
      {"Result", {"s", [](S& s, M* m) { s.facts.result = text(m); }}},
      {"ExecMainCode", {"i", [](S& s, M* m) { s.facts.exit_code = signed32(m); }}},
      {"ExecMainPID", {"u", [](S& s, M* m) { s.facts.last_pid = static_cast<pid_t>(number32(m)); }}},
      {"ExecMainStartTimestamp",
       {"t",
        [](S& s, M* m) {
          if (const auto at = number64(m))
            s.facts.last_started = WallTime{Duration{static_cast<std::int64_t>(at)}};
        }}},
      {"ExecMainStatus", {"i", [](S& s, M* m) { s.facts.exit_status = signed32(m); }}},
      {"InvocationID",
       {"ay",
        [](S& s, M* m) {
          const void* data = nullptr;
          std::size_t size = 0;
          if (sd_bus_message_read_array(m, 'y', &data, &size) < 0) return;
          for (std::size_t i = 0; i < size; ++i) {
            static constexpr char digits[] = "0123456789abcdef";
            const auto byte = static_cast<const unsigned char*>(data)[i];
            s.facts.invocation += {digits[byte >> 4], digits[byte & 15]};
          }
        }}},
      {"LoadError",
       {"(ss)",
        [](S& s, M* m) {
          if (sd_bus_message_enter_container(m, 'r', "ss") <= 0) return;
          text(m);
          s.load_error = text(m);
          sd_bus_message_exit_container(m);
        }}},
      {"FragmentPath", {"s", [](S& s, M* m) { s.fragment = text(m); }}},
      {"SourcePath", {"s", [](S& s, M* m) { s.source = text(m); }}},
      {"UnitFileState", {"s", [](S& s, M* m) { s.file_state = text(m); }}},
      {"DropInPaths", {"as", [](S& s, M* m) { s.drop_ins = texts(m); }}},
      {"NeedDaemonReload", {"b", [](S& s, M* m) { s.needs_reload = flag(m); }}},
      {"ConditionResult", {"b", [](S& s, M* m) { s.conditions_met = flag(m); }}},
      {"ConditionTimestamp",
       {"t", [](S& s, M* m) { s.conditions_met = number64(m) == 0 || s.conditions_met; }}},
      {"Type", {"s", [](S& s, M* m) { s.type = text(m); }}},
      {"NotifyAccess", {"s", [](S& s, M* m) { s.notify_access = text(m); }}},
      {"Restart", {"s", [](S& s, M* m) { s.restart = text(m); }}},
      {"KillMode", {"s", [](S& s, M* m) { s.kill_mode = text(m); }}},
      {"User", {"s", [](S& s, M* m) { s.user = text(m); }}},
      {"Group", {"s", [](S& s, M* m) { s.group = text(m); }}},
      {"WorkingDirectory", {"s", [](S& s, M* m) { s.working_directory = text(m); }}},
      {"PIDFile", {"s", [](S& s, M* m) { s.pidfile = text(m); }}},
      {"StandardOutput", {"s", [](S& s, M* m) { s.standard_output = text(m); }}},
      {"RuntimeDirectory", {"as", [](S& s, M* m) { s.runtime_directories = texts(m); }}},
      {"RuntimeDirectoryPreserve", {"s", [](S& s, M* m) { s.runtime_directory_preserve = text(m); }}},
      {"StateDirectory", {"as", [](S& s, M* m) { s.state_directories = texts(m); }}},
      {"LogsDirectory", {"as", [](S& s, M* m) { s.logs_directories = texts(m); }}},
      {"ProtectHome", {"s", [](S& s, M* m) { s.protect_home = text(m); }}},
      {"ProtectSystem", {"s", [](S& s, M* m) { s.protect_system = text(m); }}},
      {"PrivateTmp", {"b", [](S& s, M* m) { s.private_tmp = flag(m); }}},
      {"ReadWritePaths", {"as", [](S& s, M* m) { s.writable_paths = texts(m); }}},
      {"Environment", {"as", [](S& s, M* m) { s.environment = texts(m); }}},
      {"EnvironmentFiles",
       {"a(sb)",
        [](S& s, M* m) {
          each(m, "(sb)", [&] {
            auto path = text(m);
            s.env_files.push_back({std::move(path), flag(m)});
          });
        }}},
      {"LoadCredential", {"a(ss)", [](S& s, M* m) { take_credentials(s, m, false); }}},
      {"LoadCredentialEncrypted", {"a(ss)", [](S& s, M* m) { take_credentials(s, m, true); }}},
      {"ExecStart", {"a(sasbttttuii)", take_exec_start}},
      {"LimitNOFILE", {"t", [](S& s, M* m) { s.open_files = number64(m); }}},
      {"RestartUSec", {"t", [](S& s, M* m) { s.restart_delay = length(m); }}},
      {"StartLimitIntervalUSec", {"t", [](S& s, M* m) { s.start_limit_interval = length(m); }}},
      {"StartLimitBurst", {"u", [](S& s, M* m) { s.start_limit_burst = number32(m); }}},
      {"RestartPreventExitStatus",
       {"(aiai)",
        [](S& s, M* m) {
          if (sd_bus_message_enter_container(m, 'r', "aiai") <= 0) return;
          each(m, "i", [&] { s.restart_prevented_by.push_back(signed32(m)); });
          sd_bus_message_skip(m, "ai");
          sd_bus_message_exit_container(m);
        }}},
  };
  return all;
}

[[noreturn]] void no_answer(const std::string& unit, int error) {
  throw Error(Exit::unavailable,
              "the service manager does not tell about " + unit + ": " + std::strerror(-error));
}

}  // namespace

UnitSheet read_unit_sheet(Scope scope, const std::string& unit) {
  const std::unique_ptr<sd_bus, Close> bus(connect_manager(Manager(scope)));
  constexpr auto service = "org.freedesktop.systemd1";
  const auto ask = [&](const char* path, const char* interface, const char* method, const char* word) {
    sd_bus_message* made = nullptr;
    int r = sd_bus_message_new_method_call(bus.get(), &made, service, path, interface, method);
    const Message call(made);
    sd_bus_message* answer = nullptr;
    if (r >= 0) r = sd_bus_message_append_basic(call.get(), 's', word);
    if (r >= 0) r = sd_bus_call(bus.get(), call.get(), patience_usec, nullptr, &answer);
    if (r < 0) no_answer(unit, r);
    return Message(answer);
  };

  UnitSheet sheet;
  sheet.facts.unit = unit;
  const auto loaded =
      ask("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "LoadUnit", unit.c_str());
  const char* path = nullptr;
  if (const int r = sd_bus_message_read_basic(loaded.get(), 'o', &path); r < 0) no_answer(unit, r);
  // The empty name means: of all interfaces.
  const auto answer = ask(path, "org.freedesktop.DBus.Properties", "GetAll", "");
  auto* m = answer.get();
  int r = sd_bus_message_enter_container(m, 'a', "{sv}");
  while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
    const auto name = text(m);
    const auto known = properties().find(name);
    char kind = 0;
    const char* contents = nullptr;
    r = sd_bus_message_peek_type(m, &kind, &contents);
    // A property of another type, in a version to come, is one that we do not know.
    if (r >= 0 && known != properties().end() && contents && std::strcmp(contents, known->second.type) == 0) {
      r = sd_bus_message_enter_container(m, 'v', contents);
      if (r >= 0) known->second.take(sheet, m);
      if (r >= 0) r = sd_bus_message_exit_container(m);
    } else if (r >= 0) {
      r = sd_bus_message_skip(m, "v");
    }
    if (r >= 0) r = sd_bus_message_exit_container(m);
  }
  if (r < 0) no_answer(unit, r);
  return sheet;
}

}  // namespace stem
