#pragma once

#include <memory>
#include <stem/config.hpp>
#include <string>

#include "core/descriptor.hpp"
#include "scheduler/schedule_book.hpp"

namespace stem::cli {

/// The book that `stem schedule` works on: the one in the store, or, with STEM_SCHEDULE_FILE, one that is
/// read from that file and written back.
class OpenedBook {
 public:
  /// Who only reads a file needs no lock, and no right to write beside it: it is whole at all times.
  enum class For { reading, writing };
  /// Throws Error: as open_schedule_places(); for a file 65, 73, 77 and, when another command changes it, 75.
  OpenedBook(const Config& config, For use);

  ScheduleBook& operator*() { return *book_; }
  ScheduleBook* operator->() { return book_.get(); }
  Store& store() { return *store_; }
  /// The file, or empty.
  const std::string& file() const { return file_; }
  /// Commits, and writes the file if there is one: beside it and then renamed, with the owner and mode of the
  /// old.
  void commit(const ScheduleEdit& edit);

 private:
  std::string file_;  // as it was named
  std::string path_;  // where it is, without symbolic links
  Descriptor lock_;
  std::shared_ptr<Store> store_;
  std::unique_ptr<ScheduleBook> book_;
};

}  // namespace stem::cli
