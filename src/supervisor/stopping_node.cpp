#include "supervisor/stopping_node.hpp"

#include <csignal>
#include <thread>

#include "service/control_client.hpp"
#include "service/control_socket.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;

constexpr Duration stop_patience = std::chrono::seconds{30};
/// SIGKILL is not to be refused, but a process in uninterruptible sleep takes its time.
constexpr Duration kill_patience = std::chrono::seconds{5};
constexpr Duration answer_patience = std::chrono::milliseconds{800};

/// A start holds the lock until its worker is ready or gives up, minutes later if its broker is away. One
/// that says that it is starting runs no job yet: it is told to end, and the start ends with it.
void end_a_start(const NodeRecords& records, const std::string& node) {
  try {
    const auto holder = PidfileHolder::open(records.pidfile_of(node));
    if (holder &&
        ask_worker(control_socket_path(records.runtime_dir(), node), "health", answer_patience).at("state") ==
            "starting")
      holder->signal(SIGTERM);
  } catch (const std::exception&) {
    // Then we wait for whoever holds the lock.
  }
}

}  // namespace

StoppingNode::StoppingNode(const NodeRecords& records, const std::string& node,
                           const ActionSettings& settings)
    : patience_(settings.timeout.value_or(stop_patience)) {
  outcome_.node = node;
  try {
    lock_ = records.lock(node, false);
    if (!lock_) {
      end_a_start(records, node);
      lock_ = records.lock(node);
    }
    pidfile_ = records.pidfile_of(node);
    const auto state = read_pidfile(pidfile_);
    if (state.kind == PidfileState::Kind::foreign || state.kind == PidfileState::Kind::forbidden)
      throw Error(Exit::no_permission, "the pidfile " + pidfile_ + " cannot be used: " + state.detail);
    auto holder = PidfileHolder::open(pidfile_);
    if (!holder) {
      remove_stale_pidfile(pidfile_);
      outcome_.kind = Kind::unchanged;
      outcome_.message = "is stopped already";
    } else if (holder->signal(SIGTERM); settings.wait) {
      holder_ = std::move(holder);
      deadline_ = began_ + patience_;
    } else {
      outcome_.kind = Kind::queued;
    }
  } catch (const Error& error) {
    fail(error.code(), error.what());
  }
  took();
}

void StoppingNode::finish() {
  holder_.reset();
  // Others of its group, killed with it, may have inherited the lock and end a moment later. Nothing tells
  // of that.
  for (int i = 0; killed_ && i < 100 && read_pidfile(pidfile_).running(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  remove_stale_pidfile(pidfile_);
  if (killed_)
    outcome_.message = "did not end within " + format_duration(patience_) +
                       " and was killed; its jobs are taken over when their leases end";
  took();
}

void StoppingNode::insist() {
  try {
    if (!killed_) {
      killed_ = true;
      deadline_ = std::chrono::steady_clock::now() + kill_patience;
      holder_->signal_group(SIGKILL);
      return;
    }
    fail(Exit::try_again, "process " + std::to_string(holder_->pid()) +
                              " does not end even by SIGKILL; the kernel holds it (a disk or network file "
                              "system that hangs?)");
  } catch (const Error& error) {
    fail(error.code(), error.what());
  }
  holder_.reset();
}

void StoppingNode::fail(Exit code, const std::string& message) {
  outcome_.kind = Kind::failed;
  outcome_.code = code;
  outcome_.message = message;
  took();
}
void StoppingNode::took() {
  outcome_.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began_);
}

}  // namespace stem
