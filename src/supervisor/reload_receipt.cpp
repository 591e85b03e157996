#include "supervisor/reload_receipt.hpp"

#include <algorithm>
#include <stem/error.hpp>
#include <thread>

#include "service/control_client.hpp"

namespace stem {
namespace {

/// Nothing tells when it is done but the answer itself.
constexpr Duration between_questions = std::chrono::milliseconds{10};
constexpr Duration answer_patience = std::chrono::seconds{1};

}  // namespace

std::optional<ReloadReceipt> ReloadReceipt::before(const std::string& socket_path) {
  try {
    const auto answer = ask_worker(socket_path, "health", answer_patience);
    return ReloadReceipt(socket_path, answer.at("pid").get<pid_t>(),
                         answer.at("reload").at("count").get<unsigned>());
  } catch (const Error&) {
  } catch (const Json::exception&) {
  }
  return std::nullopt;
}

void ReloadReceipt::await(SteadyTime deadline) const {
  for (;;) {
    const auto left = duration_cast<Duration>(deadline - std::chrono::steady_clock::now());
    if (left.count() > 0) try {
        const auto answer = ask_worker(socket_path_, "health", std::min(left, answer_patience));
        const auto& reload = answer.at("reload");
        // Another process has read all of it when it was started.
        if (answer.at("pid") != pid_) return;
        if (reload.at("count").get<unsigned>() > count_) {
          if (reload.at("error").is_null()) return;
          throw Error(static_cast<Exit>(reload.at("exitStatus").get<int>()),
                      "did not take the new configuration, and goes on with the old one: " +
                          reload.at("error").get<std::string>());
        }
      } catch (const Json::exception& error) {
        throw Error(Exit::software, std::string("the worker's answer is malformed: ") + error.what());
      } catch (const Error& error) {
        if (error.code() != Exit::unhealthy) throw;  // busy, so far
      }
    if (std::chrono::steady_clock::now() + between_questions >= deadline)
      throw Error(Exit::try_again, "did not reload in time; see `stem worker multi status` and its log");
    std::this_thread::sleep_for(between_questions);
  }
}

}  // namespace stem
