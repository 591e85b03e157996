#include "scheduler/schedule_book.hpp"

#include <map>
#include <stem/error.hpp>

#include "storage/open.hpp"

namespace stem {
namespace {

constexpr const char* entry_prefix = "schedule:";
constexpr const char* run_prefix = "schedule-run:";
constexpr std::size_t page = 1000;
constexpr std::size_t most_news = 10'000;
/// A value that is gone as soon as it is there: so a deletion can be part of a commit. Until then it is
/// empty, which counts as absent.
constexpr Duration gone_at_once = std::chrono::milliseconds{1};

std::vector<StoreEntry> list_all(Store& store, const std::string& prefix) {
  std::vector<StoreEntry> all;
  for (;;) {
    auto some = store.list(prefix, page, all.empty() ? "" : all.back().key);
    const bool more = some.size() == page;
    all.insert(all.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
    if (!more) break;
  }
  std::erase_if(all, [](const StoreEntry& entry) { return entry.value.empty(); });
  return all;
}

BookedSchedule booked(std::string name, const std::string& wire, const std::string* run) {
  BookedSchedule found{.name = std::move(name), .entry = {}, .run = {}, .error = {}};
  try {
    found.entry = schedule_entry_from_wire(wire);
    if (run != nullptr) found.run = schedule_run_from_wire(*run);
  } catch (const std::exception& error) {
    found.error = error.what();
  }
  return found;
}

}  // namespace

SchedulePlaces open_schedule_places(const Config& config, const Clock& clock) {
  auto embedded = config;
  embedded.result_backend_url.clear();
  const auto jobs = open_storage(embedded, clock);
  SchedulePlaces places{jobs.broker, jobs.results, jobs.results};
  const auto open_store = [&](const std::string& url) {
    Config other;
    other.broker_url = url;
    other.tls = config.tls;
    return open_storage(other, clock).results;
  };
  const auto elsewhere = [&](const std::string& url) { return !url.empty() && url != config.broker_url; };
  if (elsewhere(config.result_backend_url)) places.results = open_store(config.result_backend_url);
  if (elsewhere(config.schedule_store_url)) places.schedules = open_store(config.schedule_store_url);
  return places;
}

ScheduleBook::ScheduleBook(std::shared_ptr<Store> store, const Clock& clock)
    : store_(std::move(store)), clock_(clock) {}

std::optional<BookedSchedule> ScheduleBook::find(const std::string& name) {
  const auto entry = store_->get(entry_key(name));
  if (!entry || entry->value.empty()) return std::nullopt;
  const auto run = store_->get(run_key(name));
  return booked(name, entry->value, run && !run->value.empty() ? &run->value : nullptr);
}

std::vector<BookedSchedule> ScheduleBook::all() {
  const auto entries = list_all(*store_, entry_prefix);
  std::map<std::string, std::string> runs;
  for (auto& run : list_all(*store_, run_prefix))
    runs.emplace(run.key.substr(std::string_view(run_prefix).size()), std::move(run.value));
  std::vector<BookedSchedule> all;
  for (const auto& entry : entries) {
    auto name = entry.key.substr(std::string_view(entry_prefix).size());
    const auto run = runs.find(name);
    all.push_back(booked(std::move(name), entry.value, run != runs.end() ? &run->second : nullptr));
  }
  return all;
}

std::int64_t ScheduleBook::revision() {
  const auto last = store_->get(revision_key);
  return last ? last->version : 0;
}

ScheduleBook::News ScheduleBook::news(std::int64_t known) {
  const auto last = store_->get(revision_key);
  News news;
  news.revision = last ? last->version : 0;
  if (news.revision == known) return news;
  const auto told = last ? Json::parse(last->value, nullptr, false) : Json();
  news.all = true;
  if (!told.is_object() || told.value("after", Json()) != known) return news;
  const auto names = told.value("changed", Json());
  if (!names.is_array()) return news;
  news.all = false;
  for (const auto& name : names)
    if (name.is_string()) news.changed.push_back(name);
  return news;
}

void ScheduleBook::commit(const ScheduleEdit& edit) {
  if (edit.empty()) return;
  std::vector<StoreWrite> writes;
  auto changed = Json::array();
  for (const auto& entry : edit.put) {
    writes.push_back({entry_key(entry.name), to_wire(entry), {}});
    changed.push_back(entry.name);
  }
  for (const auto& name : edit.remove) {
    writes.push_back({entry_key(name), "", gone_at_once});
    writes.push_back({run_key(name), "", gone_at_once});
    changed.push_back(name);
  }
  Json told{{"v", 1}, {"after", edit.revision}, {"at", format_time(clock_.wall())}};
  if (changed.size() <= most_news) told["changed"] = std::move(changed);
  writes.push_back({revision_key, told.dump(), {}});
  if (!store_->put_guarded(writes, {{revision_key, edit.revision}}))
    throw Error(Exit::try_again,
                "the schedules were changed by somebody else meanwhile; look at them and try again");
}

}  // namespace stem
