#include "storage/postgres_library.hpp"

#include "core/loaded_library.hpp"

namespace stem {
namespace {

PostgresLibrary load() {
  const LoadedLibrary libpq("PostgreSQL", {"libpq.so.5"}, "(Debian: libpq5; of PostgreSQL 14 or newer)");
  PostgresLibrary library{};
#define STEM_FIND(name) libpq.find(#name, library.name);
  STEM_POSTGRES_FUNCTIONS(STEM_FIND)
#undef STEM_FIND
  return library;
}

}  // namespace

const PostgresLibrary& postgres_library() {
  static const PostgresLibrary library = load();
  return library;
}

}  // namespace stem
