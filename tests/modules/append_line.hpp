#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

/// Appends it to the file, a newline behind it, in one write: so lines of several processes stand whole
/// beside each other. Throws std::system_error.
inline void append_line(const std::string& file, const std::string& text, mode_t mode) {
  const auto line = text + "\n";
  const int fd = open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, mode);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "open");
  const auto written = write(fd, line.data(), line.size());
  const int error = errno;
  close(fd);
  if (written != static_cast<ssize_t>(line.size()))
    throw std::system_error(error, std::generic_category(), "write");
}
