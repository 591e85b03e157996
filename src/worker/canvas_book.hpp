#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stem/signing.hpp>
#include <string>
#include <vector>

#include "core/canvas_part.hpp"
#include "storage/open.hpp"
#include "worker/canvas_state.hpp"
#include "worker/unsettled.hpp"

namespace stem {

/// Does what the end of a job brings about for others: enqueues what comes after it, counts it as a member of
/// its group, and, when it was the last, enqueues the chord's callback. For the broker thread.
///
/// The books are written before the job is settled, so that a worker that dies in between has its job handed
/// to another, who does it all again. So each step is made to happen once: the first end of a member counts,
/// and a job is enqueued together with the mark that it was (where broker and store are two systems:
/// JobInputs::repeats()).
class CanvasBook {
 public:
  /// `storage` and `clock` outlive it. `result_ttl` is how long records are kept; `lease` is what jobs are
  /// renewed for before their end is entered.
  CanvasBook(const Storage& storage, const Clock& clock, std::optional<PayloadSigner> signer,
             Duration result_ttl, Duration lease)
      : storage_(storage),
        clock_(clock),
        signer_(std::move(signer)),
        result_ttl_(result_ttl),
        lease_(lease),
        bound_(storage.broker->publishes_with(*storage.results)) {}

  /// Told the callback's task when the callback of a chord has been enqueued, once for each.
  std::function<void(const std::string& task)> on_chord;

  /// Before they are settled. Throws Error as Broker and Store do; some may be entered then, and all can be
  /// again.
  void enter(const Unsettled& unsettled);
  /// After that, but for these.
  void settled(const std::vector<Receipt>& lost);

  /// Whether there are members' results that a callback has read, and nobody will again.
  bool untidy() const { return !tidying_.empty(); }
  /// Throws away a few hundred of them.
  void tidy();

 private:
  struct Firing {
    const Envelope* job;
    std::string record;  ///< of the job whose end enqueues it
    bool ends_chord = false;
  };
  struct MemberEnd {
    const CanvasPart* part;
    bool failed;
    std::string record;
    std::string failure;  ///< `ID: reason`
  };
  using Chunk = std::pair<std::string, std::int64_t>;

  void fire(std::vector<Firing> firings);
  void fire_one(const Firing& firing);
  bool publish_once(const Firing& firing);
  StoreWrite mark(const Firing& firing, bool enqueued) const;
  void abandon(const CanvasPart& part, const Result& why);
  void enter_chunk(const Chunk& chunk, const std::vector<MemberEnd>& ends);
  void complete(const Chunk& chunk, const CanvasChunk& books, std::int64_t members);
  void finish(const std::string& group, const CanvasRoot& root);
  void refuse_callback(const std::string& id, const std::string& group, const std::string& why);
  Result failed_callback(const Envelope& callback, const std::string& group, const CanvasRoot& root) const;

  const Storage& storage_;
  const Clock& clock_;
  const std::optional<PayloadSigner> signer_;
  const Duration result_ttl_, lease_;
  const bool bound_;                       ///< a publication and what is remembered of it are one commit
  std::map<Receipt, std::string> ending_;  ///< callbacks that have succeeded, and their chords
  std::deque<std::string> tidying_;        ///< chords whose results are not needed any more
};

}  // namespace stem
