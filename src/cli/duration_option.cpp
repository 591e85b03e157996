#include "cli/command.hpp"

namespace stem::cli {

CLI::Option* add_duration(CLI::App& app, const std::string& flag, Duration& target,
                          const std::string& meaning) {
  const auto parse = [&target, flag](const std::string& text) {
    try {
      target = parse_duration(text);
    } catch (const Error& error) {
      throw CLI::ValidationError(flag, error.what());
    }
  };
  return app.add_option_function<std::string>(flag, parse, meaning)->type_name("DURATION");
}

}  // namespace stem::cli
