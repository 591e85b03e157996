#include "service/prometheus_page.hpp"

#include <dlfcn.h>

#include <stem/error.hpp>
#include <stem/version.hpp>

#include "worker/module_directory.hpp"

namespace stem {
namespace {

using Render = void (*)(const MetricSnapshot&, std::string&);

Render load() {
  // In a build tree the library path of the program leads to it; an installed program has none.
  const std::string name = std::string("prometheus-") + version + ".so";
  void* module = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) module = dlopen((std::string(module_directory) + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto render = module ? reinterpret_cast<Render>(dlsym(module, "stem_prometheus_page")) : nullptr;
  if (render) return render;
  const char* why = dlerror();
  throw Error(Exit::config, std::string("a page of metrics takes prometheus-cpp, which cannot be loaded (") +
                                (why ? why : "unknown error") +
                                "); install it (Debian: libprometheus-cpp-core1.0), or serve no metrics");
}

Render render() {
  static const Render function = load();
  return function;
}

}  // namespace

std::string prometheus_page(const MetricSnapshot& snapshot) {
  std::string page;
  render()(snapshot, page);
  return page;
}

void load_prometheus() {
  render();
}

}  // namespace stem
