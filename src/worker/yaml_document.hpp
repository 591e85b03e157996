#pragma once

#include <yaml-cpp/yaml.h>

#include <optional>
#include <string>

namespace stem {

/// The one document of a YAML text, empty where there is none. Aliases are as they were written: who follows
/// them counts. Throws YAML::Exception, with its mark: what is not YAML or not UTF-8, and a second document.
std::optional<YAML::Node> yaml_document(const std::string& text);

}  // namespace stem
