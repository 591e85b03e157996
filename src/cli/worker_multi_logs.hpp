#pragma once

#include "supervisor/log_line.hpp"

namespace stem::cli {

/// Prints lines as they come: `Nov 22 16:41:24 web-1 stem[4711]: text`, or, from a file, the line with its
/// node before it where there are several; as JSON, one object a line.
class LogPrinter : public LogReader {
 public:
  LogPrinter(bool json, bool several) : json_(json), several_(several) {}
  void line(const LogLine& line) override;
  void remark(const std::string& text) override;
  bool caught_up() override;
  int reader_fd() const override;

 private:
  bool json_, several_;
};

}  // namespace stem::cli
