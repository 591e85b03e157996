// The examples of docs/tasks.md and docs/tracing.md, as a module that runs:
//
//     stem worker start --app build/examples/guide/libguide.so
//     stem enqueue disk.free --args '{"path": "/"}' --wait
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <stem/module.hpp>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace std::literals;

stem::Json disk_free(stem::TaskContext& job) {
  const auto space = fs::space(job.args().at("path").get<std::string>());
  return {{"freeBytes", space.available}, {"totalBytes", space.capacity}};
}

stem::Outcome publish_file(stem::TaskContext& job) {
  const fs::path from = job.args().value("from", ""), to = job.args().value("to", "");
  if (from.empty() || to.empty()) return stem::Dead{"args must hold the paths `from` and `to`"};
  if (!fs::exists(from)) return stem::Retry{from.string() + " is not there yet", 10s};
  const auto size = fs::file_size(from);
  if (fs::space(to.parent_path()).available < 2 * size) return stem::PutBack{1min};

  // Under a name of its own first: if this attempt dies half-way, or runs beside another one, no one sees
  // half a file.
  const fs::path part = to.string() + "." + job.id() + ".part";
  std::ifstream in(from, std::ios::binary);
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  std::vector<char> block(1 << 20);
  std::uintmax_t copied = 0;
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())), in.gcount() > 0) {
    if (job.cancelled()) {
      fs::remove(part);
      return stem::Retry{"stopped after " + std::to_string(copied) + " bytes"};
    }
    out.write(block.data(), in.gcount());
    copied += static_cast<std::uintmax_t>(in.gcount());
    job.progress(static_cast<double>(copied) / static_cast<double>(std::max(size, copied)));
  }
  out.close();
  if (in.bad() || !out) throw std::runtime_error("cannot copy " + from.string() + " to " + part.string());
  fs::rename(part, to);
  job.log().info("published {}, {} bytes", to.string(), copied);
  return stem::Done{{{"bytes", copied}}};
}

/// Of a request to another service.
std::vector<std::string> request_headers(const stem::TaskContext& job) {
  std::vector<std::string> lines{"Accept: application/json"};
  for (const auto& [name, value] : job.trace_headers()) lines.push_back(name + ": " + value);
  return lines;
}

/// What tasks share: made once, used by handlers on several threads.
class Catalogue {
 public:
  explicit Catalogue(fs::path root) : root_(std::move(root)) {}
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(root_)) found.push_back(entry.path().filename().string());
    return found;
  }

 private:
  const fs::path root_;
};

}  // namespace

STEM_MODULE(tasks) {
  tasks.add("disk.free", disk_free);

  tasks.add("file.publish", publish_file,
            {.description = "copies a file to where readers look for it",
             .max_retries = 10,
             .retry = stem::RetryPolicy{.base = 1s, .cap = 10min},
             .soft_time_limit = 5min,
             .hard_time_limit = 10min});

  auto catalogue = std::make_shared<Catalogue>("/etc");
  tasks.add("catalogue.names", [catalogue](stem::TaskContext&) { return catalogue->names(); });

  tasks.add("request.headers", request_headers);
}
