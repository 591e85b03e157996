#include "content.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace files {
namespace {

constexpr std::size_t chunk_bytes = 256 * 1024;
constexpr std::size_t report_bytes = 16 * 1024 * 1024;  // between two reports of progress

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

/// What `error` on `path` means for the job.
stem::Outcome failed(const std::string& path, const char* what, int error) {
  const std::string reason = path + ": " + what + ": " + std::strerror(error);
  switch (error) {
    case EIO:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ESTALE:
      return stem::Retry{reason};
    default:
      return stem::Dead{reason};
  }
}

}  // namespace

std::optional<stem::Outcome> read_content(stem::TaskContext& job, const std::function<void(Chunk)>& take) {
  const auto& args = job.args();
  if (!args.contains("path") || !args.at("path").is_string())
    return stem::Dead{"args.path is missing; give the path of a file: {\"path\": \"/etc/hostname\"}"};
  const auto path = args.at("path").get<std::string>();
  if (path.find('\0') != std::string::npos) return stem::Dead{"args.path holds a null character"};

  // Non-blocking: opening a pipe that no one writes to must not hold the worker.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0) return failed(path, "cannot open", errno);
  struct stat facts {};
  if (fstat(file.fd, &facts) != 0) return failed(path, "cannot examine", errno);
  if (S_ISDIR(facts.st_mode)) return stem::Dead{path + ": is a directory; give a file"};
  if (!S_ISREG(facts.st_mode)) return stem::Dead{path + ": is not a regular file"};

  std::vector<unsigned char> buffer(chunk_bytes);
  std::size_t done = 0, reported = 0;
  for (;;) {
    const auto got = read(file.fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(path, "cannot read", errno);
    if (got == 0) return std::nullopt;
    take(Chunk{buffer.data(), static_cast<std::size_t>(got)});
    done += static_cast<std::size_t>(got);
    if (job.cancelled()) return stem::Retry{path + ": stopped after " + std::to_string(done) + " bytes"};
    if (done - reported >= report_bytes) {
      reported = done;
      // The file may have grown since: never more than all of it.
      job.progress(
          std::min(1.0, static_cast<double>(done) / static_cast<double>(std::max<off_t>(facts.st_size, 1))));
    }
  }
}

}  // namespace files
