#pragma once

#include <stem/result.hpp>

namespace stem {

/// A handler that failed elsewhere, or with its process: thrown where its outcome was waited for.
struct HandlerFailed {
  Failure failure;
};

/// The exception that is being handled, as the failure of an attempt. Call it in a catch block.
Failure failure_now();

}  // namespace stem
