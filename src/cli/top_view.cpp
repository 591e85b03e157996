#include "cli/top_view.hpp"

#include <algorithm>
#include <cmath>

#include "cli/screen_text.hpp"

namespace stem::cli {
namespace {

constexpr int between = 2;  // columns
constexpr int bar_width = 10;
constexpr int shortest_name = 6;

const std::vector<std::string> help{
    "up, down, j, k, PgUp, PgDn, Home, End   select a row",
    "Tab                                     go to the next table",
    "p                                       pause the selected queue, for all workers",
    "r                                       resume it",
    "s                                       sort the table by its next column",
    "S                                       the other way round",
    "q                                       quit",
    "",
    "DONE/S and FAILED/S are of the last seconds; failed attempts that are tried again count, too.",
    "LAG is how long the oldest ready job waits. P50 and P95: half of the handlers' runs, and 95",
    "of 100, took no longer; faint where nothing ran in the last seconds.",
};

std::string spaces(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

int width_of(const TopLine& line) {
  int width = 0;
  for (const auto& span : line) width += columns_of(span.text);
  return width;
}

void pad(TopLine& line, int columns, const TopStyle& style) {
  if (const int rest = columns - width_of(line); rest > 0) line.push_back({spaces(rest), style});
}

/// How wide each column is; 0 = it is left out.
std::vector<int> fitted(std::vector<int> widths, const std::vector<TopColumn>& columns, int total) {
  const auto sum = [&] {
    int all = 0;
    for (const int width : widths) all += width > 0 ? width + between : 0;
    return all - between;
  };
  // A long name must not cost the figures.
  const int name = widths[0];
  widths[0] = std::min(name, std::max(20, total / 3));
  while (sum() > total) {
    std::size_t worst = 0;
    for (std::size_t i = 1; i < widths.size(); ++i)
      if (widths[i] > 0 && (worst == 0 || columns[i].rank >= columns[worst].rank)) worst = i;
    const int over = sum() - total;
    if (widths[0] - over >= shortest_name || worst == 0) {
      // Rather a shorter name than a figure of the most important ones less.
      if (worst == 0 || columns[worst].rank <= 1) {
        widths[0] = std::max(1, widths[0] - over);
        if (worst == 0) break;
        continue;
      }
    }
    widths[worst] = 0;
  }
  widths[0] = std::min(name, widths[0] + std::max(0, total - sum()));
  return widths;
}

}  // namespace

std::string TopView::bar(double part, int width) const {
  static const char* const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  std::string text;
  if (ascii_) {
    const auto full = static_cast<int>(std::lround(part * width));
    for (int i = 0; i < width; ++i) text += i < full ? '#' : '.';
    return text;
  }
  const auto filled = static_cast<int>(std::lround(part * width * 8));
  for (int i = 0; i < filled / 8; ++i) text += "█";
  int used = filled / 8;
  if (filled % 8 != 0) {
    text += eighths[filled % 8];
    ++used;
  }
  return text + spaces(width - used);
}

std::string TopView::history(const TopModel& model, int width) const {
  static const char* const levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static const char* const letters[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
  const auto& past = model.history();
  const auto count = std::min(past.size(), static_cast<std::size_t>(std::max(width, 0)));
  const auto most = *std::max_element(past.begin(), past.end());
  std::string text = spaces(width - static_cast<int>(count));
  for (auto at = past.size() - count; at < past.size(); ++at) {
    const auto level = most > 0 ? std::clamp(static_cast<int>(past[at] / most * 7.999), 0, 7) : 0;
    text += (ascii_ ? letters : levels)[level];
  }
  return text;
}

TopLine TopView::summary(const TopModel& model, int columns) const {
  TopLine line;
  int used = 0;
  for (const auto& word : model.summary()) {
    const int needed = (line.empty() ? 0 : between) + columns_of(word.text);
    if (used + needed > columns) {
      if (line.empty()) line.push_back({cut(word.text, columns, ascii_), {word.tone, true}});
      break;
    }
    if (!line.empty()) line.push_back({spaces(between)});
    line.push_back({word.text, {.tone = word.tone, .bold = true}});
    used += needed;
  }
  // What is left shows how it went.
  if (const int rest = columns - used - between; rest >= 8 && model.history().size() > 1) {
    const int width = std::min(rest, 60);
    line.push_back({spaces(columns - used - width)});
    line.push_back({history(model, width), {.tone = Tone::good}});
  }
  return line;
}

void TopView::draw_section(const TopSection& section, bool focused, std::size_t& offset, int rows,
                           int columns, std::vector<TopLine>& out) {
  const auto seen = static_cast<std::size_t>(std::max(rows - 1, 0));
  const auto& all = section.rows();
  if (focused) {
    page_ = std::max(1, static_cast<int>(seen));
    if (section.selected() < offset) offset = section.selected();
    if (seen > 0 && section.selected() >= offset + seen) offset = section.selected() - seen + 1;
  }
  offset = std::min(offset, all.size() > seen ? all.size() - seen : 0);
  const auto last = std::min(all.size(), offset + seen);

  const auto& headings = section.columns();
  const auto heading = [&](std::size_t i) {
    const char* const arrow = ascii_ ? (section.reversed() ? "^" : "v") : (section.reversed() ? "▴" : "▾");
    return headings[i].title + (i == section.sorted_by() ? arrow : "");
  };
  std::vector<int> natural;
  for (std::size_t i = 0; i < headings.size(); ++i) {
    int width = columns_of(headings[i].title) + 1;
    for (const auto& row : all)
      width = std::max(width,
                       row.cells[i].bar >= 0 ? bar_width : columns_of(harmless(row.cells[i].text, ascii_)));
    natural.push_back(width);
  }
  const auto widths = fitted(natural, headings, columns);

  const TopStyle head{.tone = Tone::plain, .bold = true, .reverse = false, .underline = true};
  TopLine line;
  for (std::size_t i = 0; i < headings.size(); ++i) {
    if (widths[i] == 0) continue;
    const auto title = cut(heading(i), widths[i], ascii_);
    const auto padding = spaces(widths[i] - columns_of(title));
    line.push_back(
        {(line.empty() ? "" : spaces(between)) +
             (headings[i].number && headings[i].title != "LOAD" ? padding + title : title + padding),
         head});
  }
  pad(line, columns, head);
  if (all.size() > seen) {
    const auto part =
        " " + std::to_string(offset + 1) + "-" + std::to_string(last) + " of " + std::to_string(all.size());
    // Where it covers no heading.
    if (!line.empty() && static_cast<int>(part.size()) < columns_of(line.back().text) &&
        line.back().text.find_first_not_of(' ') == std::string::npos)
      line.back().text = spaces(columns_of(line.back().text) - static_cast<int>(part.size())) + part;
  }
  out.push_back(std::move(line));

  for (auto number = offset; number < last; ++number) {
    const auto& row = all[number];
    const bool selected = focused && number == section.selected();
    TopLine cells;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      if (widths[i] == 0) continue;
      const auto& cell = row.cells[i];
      const auto text =
          cell.bar >= 0 ? bar(cell.bar, bar_width) : cut(harmless(cell.text, ascii_), widths[i], ascii_);
      const auto padding = spaces(widths[i] - columns_of(text));
      const TopStyle style{.tone = cell.tone, .bold = false, .reverse = selected, .underline = false};
      if (!cells.empty())
        cells.push_back(
            {spaces(between), {.tone = Tone::plain, .bold = false, .reverse = selected, .underline = false}});
      cells.push_back({headings[i].number && cell.bar < 0 ? padding + text : text + padding, style});
    }
    if (selected)
      pad(cells, columns, {.tone = Tone::plain, .bold = false, .reverse = true, .underline = false});
    out.push_back(std::move(cells));
  }
}

std::vector<TopLine> TopView::draw(const TopModel& model, const TopNotice& notice, int rows, int columns) {
  std::vector<TopLine> out;
  if (rows <= 0 || columns <= 0) return out;
  const auto one = [&](const std::string& text, TopStyle style) {
    out.push_back({{cut(harmless(text, ascii_), columns, ascii_), style}});
  };

  const bool roomy = rows >= 20;
  if (rows >= 8) {
    const auto time = harmless(notice.time, ascii_);
    const int left = columns - columns_of(time) - between;
    TopLine line{{cut(harmless(notice.title, ascii_), left > 10 ? left : columns, ascii_),
                  {.tone = Tone::plain, .bold = true}}};
    if (left > 10) {
      line.push_back({spaces(columns - columns_of(time) - width_of(line))});
      line.push_back({time, {.tone = Tone::faint}});
    }
    out.push_back(std::move(line));
  }
  if (!notice.lost.empty())
    one(notice.lost, {.tone = Tone::bad, .bold = true, .reverse = true, .underline = false});
  if (notice.lost.empty() || rows >= 6) out.push_back(summary(model, columns));

  const int footer = rows >= 6 ? 1 : 0;
  const int body = rows - static_cast<int>(out.size()) - footer;
  const int gap = roomy ? 1 : 0;
  if (notice.help) {
    for (int i = 0; i < std::min(body - gap, static_cast<int>(help.size())); ++i) {
      if (i == 0 && gap > 0) out.emplace_back();
      one(help[static_cast<std::size_t>(i)], {});
    }
  } else {
    // The section in focus first; the others where there is room for a heading and some rows.
    const auto fit =
        static_cast<std::size_t>(std::clamp(body / (3 + gap), 1, static_cast<int>(TopModel::parts)));
    std::array<int, TopModel::parts> needs{}, shares{};
    std::size_t shown = 1;
    shares[model.focus()] = std::min(body, 2 + gap);
    for (std::size_t part = 0; part < TopModel::parts && shown < fit; ++part)
      if (part != model.focus()) {
        shares[part] = 2 + gap;
        ++shown;
      }
    int left = body;
    for (std::size_t part = 0; part < TopModel::parts; ++part) {
      needs[part] = gap + 1 + static_cast<int>(std::max<std::size_t>(model.section(part).rows().size(), 1));
      left -= shares[part];
    }
    while (left > 0) {
      std::size_t poorest = TopModel::parts;
      for (std::size_t part = 0; part < TopModel::parts; ++part)
        if (shares[part] > 0 && shares[part] < needs[part] &&
            (poorest == TopModel::parts || shares[part] < shares[poorest]))
          poorest = part;
      if (poorest == TopModel::parts) break;
      ++shares[poorest];
      --left;
    }
    for (std::size_t part = 0; part < TopModel::parts; ++part) {
      if (shares[part] <= 0) continue;
      if (gap > 0) out.emplace_back();
      draw_section(model.section(part), part == model.focus(), offsets_[part], shares[part] - gap, columns,
                   out);
    }
  }

  const auto most = static_cast<std::size_t>(rows - footer);
  if (out.size() > most) out.resize(most);
  if (footer > 0) {
    while (out.size() < most) out.emplace_back();
    if (!notice.said.empty())
      one(notice.said, {.tone = Tone::plain, .bold = true});
    else
      one(notice.help ? "? back  q quit" : "q quit  p pause  r resume  s sort  Tab next table  ? help",
          {.tone = Tone::faint});
  }
  return out;
}

}  // namespace stem::cli
