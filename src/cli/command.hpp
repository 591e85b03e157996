#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stem/config.hpp>
#include <stem/error.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stem::cli {

/// What every command has, beside its own options.
struct Common {
  bool json = false;
  bool no_color = false;
  int verbose = 0;
  std::string env_file;
};

/// One command: `worker multi`, `enqueue`. Its own parser is built only when it is called, so that `stem
/// worker healthcheck` does not pay for the others.
struct Command {
  std::string_view path;
  std::string_view summary;
  /// Fills `app` with options and sets what runs after parsing; the returned function does the work and
  /// returns the exit status.
  std::function<int()> (*define)(CLI::App& app, Common& common);
  /// Rewrites what the parser cannot read; nothing to do if null.
  std::vector<std::string> (*prepare)(std::vector<std::string> arguments) = nullptr;
};

/// All commands, in the order of `stem --help`.
const std::vector<Command>& commands();

/// Process environment, then the files of STEM_ENV_FILE over it, then the one of --env-file. Marks of
/// NodeTemplate in STEM_ENV_FILE are replaced where the node is known: `node`, or STEM_WORKER_NODE.
class EnvironmentFiles {
 public:
  /// Throws Error: 78 bad mark or quotes.
  explicit EnvironmentFiles(const Common& common, const std::string& node = {});
  /// As the files are now: a variable that they set before, and no longer, is unset. Lines that systemd would
  /// drop are warned of on stderr. Throws Error: 66 the file of --env-file is missing, 78 bad line.
  Environment read();

 private:
  std::vector<std::string> optional_;
  std::string required_;
  Environment beneath_;  // what is there without the files
};
inline Environment load_environment(const Common& common, const std::string& node = {}) {
  return EnvironmentFiles(common, node).read();
}
/// The same for what starts nothing: a worker is to be stopped although its file has a bad line or is gone.
/// Whatever is wrong is a warning on stderr, and counts for nothing.
Environment load_what_can_be_read(const Common& common);
/// `environment` and systemd's credentials over it, read as configuration; unknown STEM_ variables are warned
/// of on stderr. Throws Error 78.
Config load_config(const Environment& environment);
/// For commands that are no service, which log that themselves: warns of what is dangerous in STEM_TLS_*,
/// too.
Config load_config(const Common& common);

/// An option that takes a duration (`250ms`, `5s`, `2m`, `1h`); a bad one is a usage error.
CLI::Option* add_duration(CLI::App& app, const std::string& flag, Duration& target,
                          const std::string& meaning);

/// As CLI::Range, without a remark in the help.
inline CLI::Validator between(int low, int high) {
  return CLI::Range(low, high).description("");
}

/// Parses and runs. Prints one line on stderr for an Error or a bad command line; returns the exit status.
int run(int argc, char** argv);

}  // namespace stem::cli
