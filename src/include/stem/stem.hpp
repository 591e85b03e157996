#pragma once

#include <memory>
#include <optional>
#include <stem/canvas.hpp>
#include <stem/config.hpp>
#include <stem/envelope.hpp>
#include <stem/error.hpp>
#include <stem/job.hpp>
#include <stem/result.hpp>
#include <stem/signing.hpp>
#include <stem/task.hpp>
#include <string>
#include <vector>

namespace stem {

/// The producer's side: puts jobs into the broker and reads their results. Thread-safe; one a process is
/// enough. In a child of the process that made it, it connects anew when it is first used there. fork()
/// closes SQLite databases, and waits for what other threads are just doing with them, 10 seconds at the most
/// for each that others hold; parent and child open them again, and must still be allowed to.
class Stem {
 public:
  /// Opens broker and result backend. Throws Error: 69 unreachable, 73 cannot create, 77 permission, 78
  /// configuration. Jobs are signed if the configuration says so.
  explicit Stem(const Config& config);
  /// Signs with `signer` instead, or not at all if there is none.
  Stem(const Config& config, std::optional<PayloadSigner> signer);
  ~Stem();
  Stem(Stem&&) noexcept;
  Stem& operator=(Stem&&) noexcept;

  /// Returns the job's id once the broker has it for good. `args` is a JSON object. Throws Error: 64 bad
  /// name, queue or priority; 69 broker unreachable; 78 configured to sign, and not able to: nothing is
  /// enqueued unsigned.
  std::string enqueue(const std::string& task, Json args = Json::object(),
                      const EnqueueOptions& options = {});
  /// All or none, in one round trip; those that the routing file sends to a broadcast channel follow one by
  /// one.
  std::vector<std::string> enqueue(const std::vector<Job>& jobs);
  /// The same, and tells which of them were there already because of their unique key.
  std::vector<Enqueued> submit(const std::vector<Job>& jobs);
  /// A Chain, a Group or a Chord: all of it or nothing. Throws Error as above, and 64 for what cannot be part
  /// of it.
  template <class Canvas>
  requires requires { typename Canvas::Ids; }
  typename Canvas::Ids enqueue(const Canvas& canvas) { return draw(canvas); }
  /// From now on, jobs of these tasks are enqueued with what their TaskOptions say of being unique, where a
  /// job says nothing of it. What else they say is the workers' affair. Copies what it needs; not while
  /// another thread enqueues.
  void know(const Registry& tasks);

  /// What is known of a job now; empty if it was never enqueued or its record has expired.
  std::optional<Result> result(const std::string& id);
  /// Blocks until the job has ended or `timeout` has passed; then what is known. Wakes by notification, not
  /// polling.
  std::optional<Result> wait(const std::string& id, Duration timeout);

 private:
  Chain::Ids draw(const Chain& chain);
  Group::Ids draw(const Group& group);
  Chord::Ids draw(const Chord& chord);

  struct Connections;
  Connections& here();
  std::unique_ptr<Connections> connections_;
};

}  // namespace stem
