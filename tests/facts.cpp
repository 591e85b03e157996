// Prints what the manual pages have to agree with, as one JSON object: variables, exit statuses, versions.
#include <iostream>
#include <stem/config.hpp>
#include <stem/error.hpp>
#include <stem/json.hpp>
#include <stem/module.hpp>
#include <stem/version.hpp>
#include <string_view>

int main() {
  stem::Json facts{{"version", stem::version}, {"abi", STEM_ABI_VERSION}};
  for (const auto& setting : stem::settings())
    facts["settings"].push_back(
        {{"name", setting.name}, {"default", setting.fallback}, {"meaning", setting.meaning}});
  for (int code = 0; code < 256; ++code)
    if (const std::string_view text = stem::describe(static_cast<stem::Exit>(code)); text != "unknown")
      facts["exits"].push_back({code, text});
  std::cout << facts.dump(2) << '\n';
}
