#include "core/memory_size.hpp"

#include <charconv>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {

std::uint64_t parse_memory_size(std::string_view text) {
  constexpr std::uint64_t most = std::uint64_t{1} << 50;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const int shift = unit.empty() || unit == "K" || unit == "k" ? 10
                    : unit == "M" || unit == "m"               ? 20
                    : unit == "G" || unit == "g"               ? 30
                                                               : 0;
  if (error != std::errc{} || shift == 0 || number > most >> shift)
    throw Error(Exit::usage, "'" + printable(text) +
                                 "' is no amount of memory; use a number of KiB, or 512M, 2G and so on");
  return number << shift;
}

}  // namespace stem
