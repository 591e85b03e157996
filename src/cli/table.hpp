#pragma once

#include <string>
#include <vector>

namespace stem::cli {

/// Text in columns for people: each column as wide as its widest cell (counted in UTF-8 characters), two
/// blanks between, headings in capitals, no blanks at line ends. Numbers are set to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> headings) : rows_{std::move(headings)} {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.size() == 1; }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace stem::cli
