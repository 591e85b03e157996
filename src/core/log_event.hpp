#pragma once

namespace stem {

/// What an entry of the log means to an operator, for the few that call for one. In the journal it becomes
/// MESSAGE_ID=, which units/stem.catalog explains (`journalctl -x`). Holds for what this thread logs while
/// the object lives.
struct LogEvent {
  // An identity is never given a second meaning. tests/packaging_test.py compares this list with the catalog.
  static constexpr const char* refused_configuration = "26b839ca054b4d5b979d0756463570a7";
  static constexpr const char* broker_lost = "5f37363f6e9440dab2348a4e5be33241";
  static constexpr const char* broker_back = "c27cc3ba86a64e909c5ae3de1c81fa13";
  static constexpr const char* no_progress = "170406ad9cec428aa7ad640b9d6aa2c0";
  static constexpr const char* never_ready = "1e855edc7192478c802a73650441cb71";
  static constexpr const char* refused_reload = "68fc295979674587a3781ca84359f64f";
  static constexpr const char* jobs_left_behind = "1527863b9a1144a08fefe204276b17c8";
  static constexpr const char* handler_crashed = "a8bc282d2d8647779d0f382d2214cf44";
  static constexpr const char* pool_cannot_start = "3e2ec50bf9794078b59b37c969e32e63";

  explicit LogEvent(const char* identity);
  ~LogEvent();
  LogEvent(const LogEvent&) = delete;
  LogEvent& operator=(const LogEvent&) = delete;

  /// The identity in force on this thread, or null.
  static const char* current();

 private:
  const char* outer_;
};

}  // namespace stem
