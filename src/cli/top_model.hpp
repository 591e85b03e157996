#pragma once

#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "cli/fleet_pace.hpp"

namespace stem::cli {

/// What a cell means; a screen may have colours for it.
enum class Tone { plain, faint, good, warning, bad };

struct TopCell {
  std::string text;
  Tone tone = Tone::plain;
  double value = 0;  ///< what numbers are sorted by
  double bar = -1;   ///< 0 to 1: a bar in the place of the text
};
struct TopColumn {
  std::string title;
  bool number = false;
  int rank = 0;  ///< where a screen is narrow, the highest go first; 0 stays
};
struct TopRow {
  std::string key;
  std::vector<TopCell> cells;  ///< one a column
};

/// Rows of one kind, sorted, of which one is selected.
class TopSection {
 public:
  TopSection(std::vector<TopColumn> columns, std::size_t sorted_by)
      : columns_(std::move(columns)), sorted_by_(sorted_by) {}

  /// The selected row stays selected, or its neighbour is.
  void fill(std::vector<TopRow> rows);
  void sort_by_next();
  void reverse();
  void select(std::ptrdiff_t by);

  const std::vector<TopColumn>& columns() const { return columns_; }
  const std::vector<TopRow>& rows() const { return rows_; }
  std::size_t sorted_by() const { return sorted_by_; }
  bool reversed() const { return reversed_; }
  std::size_t selected() const { return selected_; }  ///< meaningless without rows
  std::string selected_key() const { return rows_.empty() ? std::string{} : rows_[selected_].key; }

 private:
  void sort();
  void arrange(const std::string& key);

  std::vector<TopColumn> columns_;
  std::vector<TopRow> rows_;
  std::size_t sorted_by_ = 0, selected_ = 0;
  bool reversed_ = false;
};

/// What `stem top` knows and what its user has chosen; drawing is for others.
class TopModel {
 public:
  enum Part { queues, tasks, workers };
  static constexpr std::size_t parts = 3;

  TopModel();
  void take(const FleetSample& sample);

  const FleetFigures& figures() const { return figures_; }
  /// Jobs done a second, one a sample, the newest last.
  const std::deque<double>& history() const { return history_; }
  TopSection& section(std::size_t part) { return sections_[part]; }
  const TopSection& section(std::size_t part) const { return sections_[part]; }

  Part focus() const { return focus_; }
  void move_focus(int by);

  /// What has been found, in words: `3 workers`, `5/24 busy` … the most important first.
  struct Word {
    std::string text;
    Tone tone = Tone::plain;
  };
  std::vector<Word> summary() const;
  /// All of it without a screen.
  std::string text() const;

 private:
  FleetPace pace_;
  FleetFigures figures_;
  std::array<TopSection, parts> sections_;
  std::deque<double> history_;
  Part focus_ = queues;
};

/// `0.08ms`, `12ms`, `3.4s`, `5m 3s`.
std::string short_time(Duration length);
/// `1,284`.
std::string grouped(std::int64_t number);

}  // namespace stem::cli
