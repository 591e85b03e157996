#include "cli/top_model.hpp"

#include <algorithm>
#include <cstdio>
#include <stem/error.hpp>

#include "cli/node_view.hpp"
#include "cli/queue_view.hpp"
#include "cli/table.hpp"
#include "cli/worker_view.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t most_history = 240;
/// A queue whose oldest job has waited so long is behind.
constexpr Duration long_wait = std::chrono::minutes{1};

TopCell count_cell(std::int64_t number, Tone tone = Tone::plain) {
  return {grouped(number), number == 0 ? Tone::faint : tone, static_cast<double>(number)};
}

TopCell rate_cell(const std::optional<double>& rate, Tone tone = Tone::plain) {
  return {pace_cell(rate), !rate || *rate < 0.05 ? Tone::faint : tone, rate.value_or(-1)};
}

TopCell time_cell(const std::optional<Duration>& length, Tone tone = Tone::plain) {
  return {length ? short_time(*length) : "-", length ? tone : Tone::faint,
          length ? static_cast<double>(length->count()) : -1};
}

TopCell words_cell(std::string text, Tone tone = Tone::plain) {
  return {std::move(text), tone};
}

TopRow row_of(const FleetFigures::Queue& queue) {
  const auto& [depth, lag, workers, pauses] = queue.state;
  const bool all = queue.state.paused_for_all();
  const auto state = all ? words_cell("paused", Tone::warning)
                     : !pauses.empty()
                         ? words_cell(std::string("paused ").append(pause_words(queue.state)), Tone::warning)
                     : workers.empty() ? words_cell("no worker", depth.ready > 0 ? Tone::bad : Tone::faint)
                                       : words_cell("ok", Tone::faint);
  return {depth.queue,
          {words_cell(depth.queue), count_cell(depth.ready, queue.state.forsaken() ? Tone::bad : Tone::plain),
           time_cell(lag, lag && *lag >= long_wait ? Tone::warning : Tone::plain),
           rate_cell(queue.rates.done), rate_cell(queue.rates.failed, Tone::bad), count_cell(depth.leased),
           count_cell(depth.delayed), count_cell(depth.dead), state,
           words_cell(short_list(workers), workers.empty() ? Tone::faint : Tone::plain)}};
}

TopRow row_of(const FleetFigures::Task& task) {
  const auto tone = task.lately ? Tone::plain : Tone::faint;
  return {task.name,
          {words_cell(task.name), rate_cell(task.rates.done), rate_cell(task.rates.failed, Tone::bad),
           time_cell(task.p50, tone), time_cell(task.p95, tone),
           count_cell(static_cast<std::int64_t>(task.ends.done)),
           count_cell(static_cast<std::int64_t>(task.ends.failed)),
           count_cell(static_cast<std::int64_t>(task.ends.retried))}};
}

TopRow row_of(const FleetFigures::Worker& worker, WallTime now) {
  const auto& figures = *worker.figures;
  const auto load = figures.concurrency > 0
                        ? static_cast<double>(figures.busy) / static_cast<double>(figures.concurrency)
                        : 0;
  std::optional<Duration> up;
  try {
    up = std::max(Duration::zero(), now - parse_time(figures.started));
  } catch (const Error&) {
    // It does not say.
  }
  const auto age = std::max(Duration::zero(), now - figures.at);
  const auto state = worker.late      ? words_cell("late", Tone::bad)
                     : figures.paused ? words_cell("paused", Tone::warning)
                                      : words_cell("alive", Tone::good);
  return {worker.key,
          {words_cell(worker.node),
           state,
           {std::to_string(figures.busy) + "/" + std::to_string(figures.concurrency),
            figures.busy > 0 ? Tone::plain : Tone::faint, load},
           {"", worker.late ? Tone::faint : Tone::good, load, worker.late ? 0 : std::clamp(load, 0.0, 1.0)},
           rate_cell(worker.rates.done),
           rate_cell(worker.rates.failed, Tone::bad),
           {figures.memory > 0 ? human_bytes(static_cast<std::uint64_t>(figures.memory)) : "-", Tone::plain,
            static_cast<double>(figures.memory)},
           count_cell(figures.inflight),
           {up ? human_duration(*up) : "-", Tone::plain, up ? static_cast<double>(up->count()) : -1},
           {human_duration(age), worker.late ? Tone::bad : Tone::faint, static_cast<double>(age.count())},
           words_cell(worker.host),
           words_cell(short_list(figures.queues))}};
}

}  // namespace

std::string short_time(Duration length) {
  const auto ms = static_cast<double>(length.count()) / 1000;
  char text[32];
  if (ms < 1)
    std::snprintf(text, sizeof text, "%.2fms", ms);
  else if (ms < 10)
    std::snprintf(text, sizeof text, "%.1fms", ms);
  else if (ms < 1000)
    std::snprintf(text, sizeof text, "%.0fms", ms);
  else
    return human_duration(length);
  return text;
}

std::string grouped(std::int64_t number) {
  auto digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

void TopSection::fill(std::vector<TopRow> rows) {
  const auto key = selected_key();
  rows_ = std::move(rows);
  arrange(key);
}

/// Sorts, and selects the row of that key, if it is there.
void TopSection::arrange(const std::string& key) {
  sort();
  const auto found =
      std::find_if(rows_.begin(), rows_.end(), [&](const auto& row) { return row.key == key; });
  if (found != rows_.end()) selected_ = static_cast<std::size_t>(found - rows_.begin());
  selected_ = rows_.empty() ? 0 : std::min(selected_, rows_.size() - 1);
}

void TopSection::sort() {
  const bool number = columns_[sorted_by_].number;
  std::sort(rows_.begin(), rows_.end(), [&](const TopRow& a, const TopRow& b) {
    const auto &x = a.cells[sorted_by_], &y = b.cells[sorted_by_];
    // The largest number first, and names by the alphabet.
    if (number ? x.value != y.value : x.text != y.text)
      return (number ? x.value > y.value : x.text < y.text) != reversed_;
    return a.key < b.key;
  });
}

void TopSection::sort_by_next() {
  sorted_by_ = (sorted_by_ + 1) % columns_.size();
  reversed_ = false;
  arrange(selected_key());
}

void TopSection::reverse() {
  reversed_ = !reversed_;
  arrange(selected_key());
}

void TopSection::select(std::ptrdiff_t by) {
  if (rows_.empty()) return;
  const auto last = static_cast<std::ptrdiff_t>(rows_.size()) - 1;
  selected_ = static_cast<std::size_t>(std::clamp(
      static_cast<std::ptrdiff_t>(selected_) + std::clamp(by, -last, last), std::ptrdiff_t{0}, last));
}

TopModel::TopModel()
    : sections_{TopSection({{"QUEUE"},
                            {"READY", true},
                            {"LAG", true, 1},
                            {"DONE/S", true, 1},
                            {"FAILED/S", true, 3},
                            {"LEASED", true, 4},
                            {"DELAYED", true, 5},
                            {"DEAD", true, 4},
                            {"STATE", false, 2},
                            {"WORKERS", false, 6}},
                           0),
                TopSection({{"TASK"},
                            {"DONE/S", true},
                            {"FAILED/S", true, 2},
                            {"P50", true, 1},
                            {"P95", true, 1},
                            {"DONE", true, 3},
                            {"FAILED", true, 4},
                            {"RETRIED", true, 5}},
                           1),
                TopSection({{"WORKER"},
                            {"STATE", false, 2},
                            {"BUSY", true},
                            {"LOAD", true, 5},
                            {"DONE/S", true, 1},
                            {"FAILED/S", true, 3},
                            {"MEMORY", true, 4},
                            {"IN FLIGHT", true, 7},
                            {"UP", true, 6},
                            {"SEEN", true, 7},
                            {"HOST", false, 8},
                            {"QUEUES", false, 9}},
                           0)} {}

void TopModel::take(const FleetSample& sample) {
  figures_ = pace_.take(sample);
  history_.push_back(figures_.rates.done.value_or(0));
  if (history_.size() > most_history) history_.pop_front();
  std::vector<TopRow> rows[parts];
  for (const auto& queue : figures_.queues) rows[queues].push_back(row_of(queue));
  for (const auto& task : figures_.tasks) rows[tasks].push_back(row_of(task));
  for (const auto& worker : figures_.workers) rows[workers].push_back(row_of(worker, figures_.at));
  for (std::size_t part = 0; part < parts; ++part) sections_[part].fill(std::move(rows[part]));
}

void TopModel::move_focus(int by) {
  constexpr int count = static_cast<int>(parts);
  focus_ = static_cast<Part>(((static_cast<int>(focus_) + by) % count + count) % count);
}

std::vector<TopModel::Word> TopModel::summary() const {
  const auto& all = figures_;
  std::vector<Word> words;
  const auto living = all.workers.size() - static_cast<std::size_t>(all.late);
  words.push_back({std::to_string(living) + (living == 1 ? " worker" : " workers"),
                   living == 0 ? Tone::bad : Tone::plain});
  if (all.late > 0) words.push_back({std::to_string(all.late) + " late", Tone::bad});
  words.push_back({pace_cell(all.rates.done) + " done/s"});
  words.push_back({pace_cell(all.rates.failed) + " failed/s",
                   all.rates.failed && *all.rates.failed >= 0.05 ? Tone::bad : Tone::plain});
  words.push_back({grouped(all.ready) + " ready"});
  words.push_back({std::to_string(all.busy) + "/" + std::to_string(all.concurrency) + " busy"});
  if (all.lag)
    words.push_back({"lag " + short_time(*all.lag), *all.lag >= long_wait ? Tone::warning : Tone::plain});
  words.push_back({grouped(all.delayed) + " delayed"});
  words.push_back({grouped(all.dead) + " dead"});
  return words;
}

std::string TopModel::text() const {
  std::string text = format_time(figures_.at);
  for (const auto& word : summary()) text.append("  ").append(word.text);
  text += "\n";
  for (const auto& section : sections_) {
    if (section.rows().empty()) continue;
    std::vector<std::string> headings;
    const auto shown = [&](std::size_t column) { return section.rows().front().cells[column].bar < 0; };
    for (std::size_t i = 0; i < section.columns().size(); ++i)
      if (shown(i)) headings.push_back(section.columns()[i].title);
    Table table(headings);
    for (const auto& row : section.rows()) {
      std::vector<std::string> cells;
      for (std::size_t i = 0; i < row.cells.size(); ++i)
        if (shown(i)) cells.push_back(plain(row.cells[i].text));
      table.add(std::move(cells));
    }
    text += "\n" + table.text();
  }
  return text;
}

}  // namespace stem::cli
