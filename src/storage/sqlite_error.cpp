#include "storage/sqlite_error.hpp"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace stem {

Error sqlite_file_error(const std::string& path, int cause) {
  const std::string words = std::strerror(cause);
  switch (cause) {
    case EACCES:
    case EPERM:
      return {Exit::no_permission, "cannot open database " + path + ": " + words +
                                       "; it and its directory must be writable for this user"};
    case ENOENT:
    case ENOTDIR:
      return {Exit::cannot_create, "cannot create database " + path + ": there is no directory " +
                                       std::filesystem::path(path).parent_path().string() +
                                       "; create it first"};
    case ENOSPC:
    case EDQUOT:
      return {Exit::cannot_create,
              "cannot write database " + path + ": " + words + "; free some space and try again"};
    case EMFILE:
    case ENFILE:
      return {Exit::try_again, "cannot open database " + path + ": " + words + "; raise LimitNOFILE="};
    default:
      return {Exit::cannot_create, "cannot create database " + path + ": " + words};
  }
}

Error sqlite_error(sqlite3* handle, const std::string& path, Duration busy_timeout) {
  const int extended = sqlite3_extended_errcode(handle);
  const int cause = sqlite3_system_errno(handle);
  const std::string words = sqlite3_errmsg(handle);
  switch (extended & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return {Exit::try_again, "database " + path + " is busy: another process has held it for longer than " +
                                   format_duration(busy_timeout) + "; try again"};
    case SQLITE_FULL:
      return sqlite_file_error(path, ENOSPC);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return sqlite_file_error(path, EACCES);
    case SQLITE_CANTOPEN:
      return sqlite_file_error(path, cause != 0 ? cause : EACCES);
    case SQLITE_NOTADB:
      return {Exit::config, "cannot open database " + path +
                                ": it is not a SQLite database; name another file, or move "
                                "this one away and a new one is created"};
    case SQLITE_CORRUPT:
      return {Exit::config, "database " + path + " is damaged (" + words +
                                "); stop the workers, then restore it from a "
                                "backup or save what is left with: sqlite3 " +
                                path + " .recover"};
    case SQLITE_IOERR:
      if (cause == ENOSPC || cause == EDQUOT || cause == EACCES || cause == EPERM || cause == EROFS)
        return sqlite_file_error(path, cause);
      return {Exit::unavailable, "cannot use database " + path + ": " +
                                     (cause != 0 ? std::string(std::strerror(cause)) : words) +
                                     "; check the disk"};
    case SQLITE_TOOBIG:
      return {Exit::data,
              "database " + path + " cannot hold a job or record of a gigabyte or more; make it smaller"};
    case SQLITE_NOMEM:
      return {Exit::try_again, "cannot use database " + path + ": out of memory"};
    default:
      return {Exit::software,
              "database " + path + ": " + words + " (SQLite error " + std::to_string(extended) + ")"};
  }
}

}  // namespace stem
