#include "telemetry/gzip.hpp"

#include <zlib.h>

#include <stem/error.hpp>

#include "core/loaded_library.hpp"

namespace stem {
namespace {

struct ZlibLibrary {
  decltype(&::deflateInit2_) init;
  decltype(&::deflateBound) bound;
  decltype(&::deflate) run;
  decltype(&::deflateEnd) end;
};

ZlibLibrary load() {
  const LoadedLibrary zlib("gzip for a collector", {"libz.so.1"},
                           "(Debian: zlib1g), or set no OTEL_EXPORTER_OTLP_*COMPRESSION");
  ZlibLibrary library{};
  zlib.find("deflateInit2_", library.init);
  zlib.find("deflateBound", library.bound);
  zlib.find("deflate", library.run);
  zlib.find("deflateEnd", library.end);
  return library;
}

}  // namespace

std::string gzip(std::string_view text) {
  static const ZlibLibrary zlib = load();
  z_stream stream{};
  constexpr int gzip_window = 15 + 16;  // the 16 asks for gzip's header: zlib.h
  if (zlib.init(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                sizeof stream) != Z_OK)
    throw Error(Exit::config, "zlib cannot be started");
  std::string packed(zlib.bound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int result = zlib.run(&stream, Z_FINISH);
  packed.resize(packed.size() - stream.avail_out);
  zlib.end(&stream);
  if (result != Z_STREAM_END) throw Error(Exit::software, "zlib did not end");
  return packed;
}

}  // namespace stem
