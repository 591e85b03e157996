#pragma once

#include <array>
#include <string>
#include <vector>

#include "cli/top_model.hpp"

namespace stem::cli {

/// How a piece of a line looks.
struct TopStyle {
  Tone tone = Tone::plain;
  bool bold = false, reverse = false, underline = false;

  friend bool operator==(const TopStyle&, const TopStyle&) = default;
};
struct TopSpan {
  std::string text;  ///< harmless()
  TopStyle style{};
};
using TopLine = std::vector<TopSpan>;

/// What the screen tells beside the model.
struct TopNotice {
  std::string title;  ///< whose screen it is
  std::string time;   ///< at the right
  std::string lost;   ///< empty = the figures are fresh; else why they are not, and how old they are
  std::string said;   ///< the answer to the last key, or empty
  bool help = false;
};

/// Draws a model into lines. Keeps how far each section is scrolled.
class TopView {
 public:
  explicit TopView(bool ascii) : ascii_(ascii) {}

  /// At most `rows` lines of at most `columns` columns each, whatever the sizes.
  std::vector<TopLine> draw(const TopModel& model, const TopNotice& notice, int rows, int columns);
  /// How many rows of the section in focus are seen: a page.
  int page() const { return page_; }

 private:
  void draw_section(const TopSection& section, bool focused, std::size_t& offset, int rows, int columns,
                    std::vector<TopLine>& out);
  TopLine summary(const TopModel& model, int columns) const;
  std::string bar(double part, int width) const;
  std::string history(const TopModel& model, int width) const;

  const bool ascii_;
  std::array<std::size_t, TopModel::parts> offsets_{};
  int page_ = 1;
};

}  // namespace stem::cli
