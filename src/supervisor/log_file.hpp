#pragma once

#include <sys/types.h>
#include <string>
#include <vector>

#include "supervisor/log_line.hpp"

namespace stem {

/// The last `count` lines of what `file` got beyond the offset `from`, without control characters; none if it
/// cannot be read.
std::vector<std::string> last_lines(const std::string& file, off_t from, std::size_t count);

struct NodeLogFile {
  std::string node, path;
};

/// Hands the lines of log files to `reader`, file by file (query.last is of each), and, with query.follow,
/// those to come, from whichever file they come. A file that is renamed and made anew, or cut to nothing, is
/// followed without losing a line that is written before the change is seen; what a writer adds to a renamed
/// file is read until the next rotation. Throws Error: 66 a file is missing (with follow it may appear
/// later), 77 it may not be read, or is no file.
void read_log_files(const std::vector<NodeLogFile>& files, const LogQuery& query, LogReader& reader);

}  // namespace stem
