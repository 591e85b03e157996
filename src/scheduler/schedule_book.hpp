#pragma once

#include <memory>
#include <stem/config.hpp>
#include <string>
#include <vector>

#include "core/schedule_entry.hpp"
#include "storage/broker.hpp"
#include "storage/store.hpp"

namespace stem {

/// Where a scheduler works: jobs go to `broker`, schedules are in `schedules`, what became of jobs is in
/// `results`.
struct SchedulePlaces {
  std::shared_ptr<Broker> broker;
  std::shared_ptr<Store> results, schedules;
};

/// Opens what `config` names. Without STEM_SCHEDULE_STORE_URL, schedules are kept where the jobs are: then
/// jobs and what is remembered of them are written in one commit. Throws Error as open_storage() does.
SchedulePlaces open_schedule_places(const Config& config, const Clock& clock = Clock::system());

/// A schedule as it is stored.
struct BookedSchedule {
  std::string name;
  ScheduleEntry entry;
  ScheduleRun run;
  std::string error;  ///< why the stored form cannot be read; then entry is empty
};

/// An edit of the book, made from one state of it and good for that state only.
struct ScheduleEdit {
  std::int64_t revision = 0;  ///< of the state it was made from
  std::vector<ScheduleEntry> put;
  std::vector<std::string> remove;
  bool empty() const { return put.empty() && remove.empty(); }
};

/// The schedules in a store, for those who edit and those who run them. Keys, all of version 1 of
/// docs/schedules.md: `schedule:NAME` what people wrote, `schedule-run:NAME` what became of it, `schedules`
/// the last edit. Thread-safe as far as the store is. Throws Error as the store does.
class ScheduleBook {
 public:
  explicit ScheduleBook(std::shared_ptr<Store> store, const Clock& clock = Clock::system());

  std::optional<BookedSchedule> find(const std::string& name);
  /// Sorted by name.
  std::vector<BookedSchedule> all();

  /// Grows with each edit; 0 = there was none. What was read after it is at least as new.
  std::int64_t revision();
  /// What was edited between two revisions; `known` is the older.
  struct News {
    std::int64_t revision = 0;
    bool all = false;                  ///< too much to tell: look at everything
    std::vector<std::string> changed;  ///< put or removed
  };
  News news(std::int64_t known);

  /// All of the edit or nothing, in one commit. Wakes schedulers. Throws Error: 75 if the book was edited
  /// since the edit was made.
  void commit(const ScheduleEdit& edit);

  static std::string entry_key(const std::string& name) { return "schedule:" + name; }
  static std::string run_key(const std::string& name) { return "schedule-run:" + name; }
  static constexpr const char* revision_key = "schedules";

 private:
  const std::shared_ptr<Store> store_;
  const Clock& clock_;
};

}  // namespace stem
