// Tasks on files of the machine that the worker runs on. Each takes {"path": "..."}.
//
//     stem worker start --app build/examples/files/libfiles.so
//     stem enqueue files.sha256 --args '{"path": "/etc/hostname"}' --wait
#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <stem/module.hpp>

#include "content.hpp"

namespace files {
namespace {

std::string hex(const unsigned char* bytes, std::size_t count) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

/// {"sha256": hexadecimal, "bytes": n}, as sha256sum prints it.
stem::Outcome sha256(stem::TaskContext& job) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  if (!digest || EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("OpenSSL cannot compute SHA-256");
  std::size_t bytes = 0;
  const auto ended = read_content(job, [&](Chunk chunk) {
    bytes += chunk.size();
    if (EVP_DigestUpdate(digest.get(), chunk.data(), chunk.size()) != 1)
      throw std::runtime_error("SHA-256 failed");
  });
  if (ended) return *ended;
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(digest.get(), sum.data(), &length) != 1) throw std::runtime_error("SHA-256 failed");
  return stem::Done{{{"sha256", hex(sum.data(), length)}, {"bytes", bytes}}};
}

/// {"bytes": n, "gzipBytes": n}: its size, and its size as gzip. `args.level` is 1 (fast) to 9 (small), 6 if
/// absent.
stem::Outcome gzip_size(stem::TaskContext& job) {
  const auto level = job.args().find("level");
  int chosen = 6;
  if (level != job.args().end()) {
    if (!level->is_number_integer() || *level < 1 || *level > 9)
      return stem::Dead{"args.level must be 1 to 9"};
    chosen = level->get<int>();
  }
  z_stream stream{};
  constexpr int gzip_format = 15 + 16;  // the largest window, with gzip's header and trailer
  if (deflateInit2(&stream, chosen, Z_DEFLATED, gzip_format, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("zlib has no memory");
  const std::unique_ptr<z_stream, decltype(&deflateEnd)> cleanup{&stream, deflateEnd};

  std::array<unsigned char, 64 * 1024> output;
  std::size_t bytes = 0, packed = 0;
  const auto deflate_chunk = [&](Chunk chunk, int flush) {
    stream.next_in = const_cast<unsigned char*>(chunk.data());  // zlib reads it only
    stream.avail_in = static_cast<uInt>(chunk.size());
    do {
      stream.next_out = output.data();
      stream.avail_out = output.size();
      if (deflate(&stream, flush) == Z_STREAM_ERROR) throw std::runtime_error("zlib: stream error");
      packed += output.size() - stream.avail_out;
    } while (stream.avail_out == 0);
  };
  const auto ended = read_content(job, [&](Chunk chunk) {
    bytes += chunk.size();
    deflate_chunk(chunk, Z_NO_FLUSH);
  });
  if (ended) return *ended;
  deflate_chunk({}, Z_FINISH);
  return stem::Done{{{"bytes", bytes}, {"gzipBytes", packed}}};
}

/// {"lines": n, "bytes": n}: newline characters, as `wc -l` counts them.
stem::Outcome lines(stem::TaskContext& job) {
  std::ptrdiff_t count = 0;
  std::size_t bytes = 0;
  const auto ended = read_content(job, [&](Chunk chunk) {
    bytes += chunk.size();
    count += std::count(chunk.begin(), chunk.end(), static_cast<unsigned char>('\n'));
  });
  if (ended) return *ended;
  return stem::Done{{{"lines", count}, {"bytes", bytes}}};
}

}  // namespace
}  // namespace files

STEM_MODULE(tasks) {
  tasks.add("files.sha256", files::sha256, {.description = "SHA-256 and size of a file"});
  tasks.add("files.gzip_size", files::gzip_size, {.description = "size of a file, and of its gzip"});
  tasks.add("files.lines", files::lines, {.description = "lines and bytes of a file"});
}
