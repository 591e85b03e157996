#pragma once

#include <unistd.h>

#include <mutex>
#include <stem/stem.hpp>

#include "core/canvas_part.hpp"
#include "core/routing.hpp"
#include "core/trace_scope.hpp"
#include "storage/open.hpp"
#include "telemetry/enqueue_span.hpp"
#include "worker/canvas_state.hpp"

namespace stem {

/// What a Stem holds: not for programs. Makes envelopes out of jobs and puts them into the broker.
struct Stem::Connections {
  Config config;
  Storage storage;
  std::optional<PayloadSigner> signer{};
  bool signer_made = false, tracer_made = false;
  std::optional<Routing> routing{};
  std::mutex preparing{};

  struct Uniqueness {
    Duration window;
    UniqueUntil until;
  };
  std::map<std::string, Uniqueness> unique_tasks{};  ///< of know()
  const pid_t process = getpid();                    ///< whose they are
  std::shared_ptr<Tracer> tracer{};                  ///< null = nothing is told; under `preparing`

  /// Whoever is told of what is enqueued now; null = nobody.
  std::shared_ptr<Tracer> teller();
  /// For the first job: who only reads results does without OpenSSL and the routing file.
  void prepare();

  /// A job on its way: into its queue, or to everyone who listens on a channel.
  struct Posting {
    Envelope envelope;
    Routing::Destination to;
    std::vector<StoreWrite> records{};  ///< of jobs that are to follow
    std::optional<Uniqueness> unique{};
    std::string unique_key{};  ///< in the store; empty = it is not unique
    EnqueueSpan span{};        ///< null where none is recorded
  };

  /// What a chain's link is, besides.
  struct ChainPlace {
    std::string chain;
    std::size_t index;
  };
  Posting posting(const Job& job, CanvasPart part = {}, const std::optional<ChainPlace>& place = {},
                  std::size_t depth = 0);
  /// posting() of what can only go into a queue, and alone: `part` of something larger.
  Posting member(const Job& job, CanvasPart part, const std::optional<ChainPlace>& place = {},
                 std::size_t depth = 0);
  /// The record of a job that waits for others.
  static StoreWrite waiting(const Envelope& job, const std::string& for_whom, Duration ttl);

  /// Makes and publishes a canvas in `work`; all its jobs travel with the context of one span.
  template <class Work>
  auto in_one_trace(const char* kind, const std::string& id, std::size_t jobs, Work work) {
    prepare();
    std::optional<TraceContext> context;
    const auto tracer = teller();
    auto span = trace_canvas(tracer.get(), kind, id, jobs, context);
    std::optional<TraceScope> traced;
    if (context) traced.emplace(*context, true);
    try {
      auto made = work();
      end_enqueue(tracer.get(), std::move(span));
      return made;
    } catch (const std::exception& error) {
      end_enqueue(tracer.get(), std::move(span), error.what());
      throw;
    }
  }

  /// What a group is made of, but for its callback.
  struct Members {
    CanvasRoot root{};
    std::vector<Envelope> jobs{};
    std::vector<StoreWrite> records{};
    std::vector<std::string> ids{};
    Duration ttl = canvas_ttl;  ///< of the books
  };
  /// `until`: when the last of the members and of the callback may begin.
  Members members(const std::vector<Job>& jobs, const std::string& group, bool chord, WallTime until);
  void publish_group(Members members, const std::string& group);

  /// All or nothing where broker and store are one; else the records first.
  void publish(const std::vector<Envelope>& jobs, const std::vector<StoreWrite>& records);
  std::vector<Enqueued> submit(std::vector<Posting> postings);
  bool bound() const { return storage.broker->publishes_with(*storage.results); }

  struct Look {
    std::optional<Result> result;
    std::int64_t version;  ///< of the record, 0 = none
    /// The record says that the job has ended while the broker still holds it: it was enqueued again, or
    /// broker and result backend are two systems; or none will be written. No further write may come to tell.
    bool in_doubt;
  };
  Look look(const std::string& id) const;

 private:
  std::optional<std::string> holder(Posting& posting, std::int64_t& version);
  bool submit_bound(std::vector<Posting>& postings, std::vector<Enqueued>& enqueued);
  Enqueued submit_unbound(Posting& posting);
  StoreWrite hold(const Posting& posting, bool published) const;
  std::pair<std::optional<Result>, std::int64_t> record(const std::string& id) const;
};

}  // namespace stem
