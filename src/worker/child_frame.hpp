#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <stem/time.hpp>
#include <string>
#include <string_view>

#include "core/descriptor.hpp"

namespace stem {

/// What a worker and a child of its pool say to each other: a kind, and its fields one after the other,
/// written by Fields and read by FieldReader in the same order. Both ends are of one process image, so the
/// form has no version.
struct ChildFrame {
  enum class Kind : std::uint32_t {
    hello,     ///< child: ready for jobs
    unable,    ///< child: will never be ready; text: why
    job,       ///< worker: see child_job.cpp
    extend,    ///< child: TaskContext::extend_lease(); microseconds
    progress,  ///< child: TaskContext::progress(); fraction, note
    // What the handler says of its attempt, and behind it the bytes of memory that the child has now.
    done,      ///< the value as CBOR
    retry,     ///< reason, whether there is a delay, microseconds
    dead,      ///< reason
    put_back,  ///< microseconds
    failed,    ///< an exception: type, message
  };
  Kind kind{};
  std::string fields{};
};

class Fields {
 public:
  Fields& number(std::int64_t value);
  Fields& real(double value);
  Fields& text(std::string_view value);
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Throws Error 70 where the fields end too early. What text() returns lives as long as the frame.
class FieldReader {
 public:
  explicit FieldReader(const ChildFrame& frame) : rest_(frame.fields) {}

  std::int64_t number();
  double real();
  std::string_view text();

 private:
  std::string_view take(std::size_t length);
  std::string_view rest_;
};

/// One end of the socket between a worker and a child of its pool. One thread at a time.
class ChildChannel {
 public:
  ChildChannel() = default;
  explicit ChildChannel(Descriptor socket) : socket_(std::move(socket)) {}

  enum class Event {
    frame,  ///< sent, or received
    ended,  ///< the other side is gone; all that it had sent was received before
    late,   ///< the deadline has passed
  };
  /// `ended` is a descriptor that polls readable when the other process has ended, or -1: then only the
  /// socket's own end tells. They wait until the deadline, if there is one.
  Event send(const ChildFrame& frame, int ended, std::optional<SteadyTime> deadline = {});
  Event receive(ChildFrame& frame, int ended, std::optional<SteadyTime> deadline = {});

  explicit operator bool() const { return static_cast<bool>(socket_); }

 private:
  enum class Wait { ready, ended, late };
  Wait wait(short events, int ended, std::optional<SteadyTime> deadline) const;
  bool next(ChildFrame& frame);

  Descriptor socket_;
  std::string received_;
  std::size_t read_ = 0;  ///< of what was received, how much was given out
};

}  // namespace stem
