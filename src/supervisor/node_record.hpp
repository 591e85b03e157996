#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "supervisor/node_options.hpp"

namespace stem {

/// What the fallback remembers of a node: with which options it was started last, and where its files are,
/// whatever the marks in their templates stood for then. `RUNTIME_DIR/multi/NODE.json`, docs/multi-record.md.
struct NodeRecord {
  NodeOptions options;
  std::string pidfile;  ///< of the last start, without marks
  std::string logfile;
};

/// The records below one runtime directory. Records are only believed if root or this user wrote them: they
/// lead to processes that will be signalled.
class NodeRecords {
 public:
  explicit NodeRecords(const std::string& runtime_dir)
      : runtime_dir_(runtime_dir), directory_(runtime_dir + "/multi") {}

  /// Keeps every other start, stop or restart of this node, by whoever shares the directory, waiting until
  /// the descriptor is closed; none without `waits`, if there is one. Makes the directory. Throws Error: 73
  /// or 77 cannot be made, 77 it belongs to someone else.
  Descriptor lock(const std::string& node, bool waits = true) const;

  const std::string& runtime_dir() const { return runtime_dir_; }

  /// Nothing if there is none, or none that can be believed.
  std::optional<NodeRecord> read(const std::string& node) const;
  /// Throws Error 73 or 77.
  void write(const std::string& node, const NodeRecord& record) const;
  std::vector<std::string> nodes() const;
  /// Where the pidfile of a node is: as recorded at its last start, else where it would be.
  std::string pidfile_of(const std::string& node) const;

 private:
  Descriptor directory() const;  // with errno, if it is none that can be believed
  std::string path(const std::string& node, const char* suffix) const {
    return directory_ + "/" + node + suffix;
  }
  std::string runtime_dir_, directory_;
};

}  // namespace stem
