#include "worker/handler_failure.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <typeinfo>

namespace stem {
namespace {

/// The exception's type as its author wrote it: `std::runtime_error`.
std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  return name ? name.get() : type.name();
}

}  // namespace

Failure failure_now() {
  try {
    throw;
  } catch (const HandlerFailed& failed) {
    return failed.failure;
  } catch (const std::exception& error) {
    return {type_name(typeid(error)), error.what()};
  } catch (...) {
    const auto* type = abi::__cxa_current_exception_type();
    return {type ? type_name(*type) : "unknown", "the handler threw something that is not a std::exception"};
  }
}

}  // namespace stem
