#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <stem/json.hpp>
#include <stem/time.hpp>

namespace stem {

/// How long things took, counted in classes of two an octave from 1 µs to 71 minutes: half a kilobyte for any
/// number of them, and a quantile that is off by a fifth at the most. Version 1 of docs/control-plane.md.
class RunTimes {
 public:
  static constexpr std::size_t classes = 64;

  void add(Duration length) {
    ++counts_[class_of(length)];
    ++count_;
  }
  void add(const RunTimes& others);
  /// Those that have come since `earlier`, which is a former state of the same counts; all if it is not.
  RunTimes since(const RunTimes& earlier) const;

  std::uint64_t count() const { return count_; }
  /// The length that a part `q` (0 to 1) of them did not exceed; empty if there are none.
  std::optional<Duration> quantile(double q) const;

  /// `[[class, count], …]` of the classes that hold some.
  Json json() const;
  /// Of what is no such list, nothing.
  static RunTimes from(const Json& list);

  static std::size_t class_of(Duration length);
  /// Where a class begins, in microseconds.
  static double beginning(std::size_t number);

 private:
  std::array<std::uint64_t, classes> counts_{};
  std::uint64_t count_ = 0;
};

}  // namespace stem
