#include <stem/error.hpp>
#include <stem/task.hpp>

#include "core/name.hpp"

namespace stem {

void Registry::add_handler(const std::string& name, Handler handler, const TaskOptions& options) {
  if (!is_name(name))
    throw Error(Exit::config,
                "bad task name '" + printable(name) +
                    "'; a task name is 1 to 128 of A-Z a-z 0-9 _ . : - and starts with a letter or a digit");
  if (!handler) throw Error(Exit::config, "task " + name + " has no handler");
  if (options.retry) options.retry->validate();
  if (options.rate_limit) options.rate_limit->validate();
  const auto positive = [&](const std::optional<Duration>& length, const char* what) {
    if (length && *length <= Duration::zero())
      throw Error(Exit::config, "task " + name + ": " + what + " must be above 0");
  };
  positive(options.expires, "expires");
  positive(options.result_ttl, "result_ttl");
  positive(options.unique_for, "unique_for");
  if (!tasks_.try_emplace(name, Task{name, std::move(handler), options}).second)
    throw Error(Exit::config, "task " + name + " is registered twice; each task has one handler");
}

const Registry::Task* Registry::find(std::string_view name) const {
  const auto found = tasks_.find(name);
  return found == tasks_.end() ? nullptr : &found->second;
}

std::vector<const Registry::Task*> Registry::all() const {
  std::vector<const Task*> tasks;
  for (const auto& [name, task] : tasks_) tasks.push_back(&task);
  return tasks;
}

}  // namespace stem
