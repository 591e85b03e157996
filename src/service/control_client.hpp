#pragma once

#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// Asks the worker behind a control socket, `{"v":1,"request":WORD}`, and returns its answer. Throws Error:
/// 69 nobody listens there, 77 we may not connect, 1 it did not answer within `timeout` (stuck or stopped),
/// 65 the answer is no JSON object, 64 the worker refused the request.
Json ask_worker(const std::string& socket_path, const std::string& word,
                Duration timeout = std::chrono::seconds{1});

}  // namespace stem
