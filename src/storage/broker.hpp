#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stem/envelope.hpp>
#include <stem/error.hpp>
#include <string>
#include <variant>
#include <vector>

#include "storage/store.hpp"

namespace stem {

/// Which lease a delivery stands for. Opaque outside its adapter. A lease that was taken over has another
/// token, so a late settlement or renewal of the old one touches nothing.
struct Receipt {
  std::int64_t job = 0;
  std::int64_t token = 0;

  friend auto operator<=>(const Receipt&, const Receipt&) = default;
};

/// A job leased to this process.
struct Delivery {
  Receipt receipt;
  std::string id;
  std::string queue;
  std::string wire;    ///< the envelope as it was published, byte for byte; parsed by the executor
  int attempt = 0;     ///< attempts finished so far, kept by the broker
  int deliveries = 1;  ///< how often it has been handed out since it was last settled, this time included:
                       ///< above 1, a lease ran out, perhaps because the job takes its worker down
};

/// How a leased job goes on.
struct Ack {};
struct RetryAt {
  WallTime due;
};  ///< the attempt is counted
struct DeadLetter {
  std::string reason;
  Json meta = Json::object();
};
struct Release {
  WallTime due;
};  ///< put back, the attempt is not counted
using Disposition = std::variant<Ack, RetryAt, DeadLetter, Release>;

/// The end of one lease, and the record that goes into the result backend with it.
struct Settlement {
  Receipt receipt;
  Disposition disposition;
  std::optional<StoreWrite> record{};
};

/// What a worker is ready to take.
struct Demand {
  std::vector<std::string> queues;            ///< in order of preference among equal priorities
  std::size_t limit = 0;                      ///< 0 = nothing, settle only
  Duration lease = std::chrono::seconds{30};  ///< longer for a job whose producer asks for more
  std::string consumer{};                     ///< the node's name, for people who look
};

struct Exchange {
  std::vector<Delivery> deliveries;  ///< by priority (9 first), then by age
  std::vector<Receipt> lost;         ///< settlements refused: the lease had been taken over
};

struct QueueDepth {
  std::string queue;
  std::int64_t ready = 0;                  ///< may be fetched now
  std::int64_t delayed = 0;                ///< not due yet
  std::int64_t leased = 0;                 ///< being worked on
  std::int64_t dead = 0;                   ///< in the dead-letter queue
  std::optional<WallTime> oldest_ready{};  ///< when the job that has waited longest became ready

  friend bool operator==(const QueueDepth&, const QueueDepth&) = default;
};

/// A job as the broker sees it.
struct JobView {
  enum class State { ready, delayed, leased, dead };
  State state = State::ready;
  std::string wire;
  int attempt = 0;
  int deliveries = 0;           ///< since it was last settled
  std::optional<WallTime> due;  ///< next run, or the end of the lease
  std::string consumer;         ///< who holds the lease
  std::string reason;           ///< why it is dead
};

struct DeadJob {
  std::string id;
  std::string queue;
  std::string wire;
  int attempt = 0;
  std::string reason;
  Json meta;
  WallTime dead_at;
};

/// Where a listener stands on one channel. The position is opaque; it may be kept, and gone on from by
/// another process. Empty = from now on.
struct Listening {
  std::string channel;
  std::string position{};

  friend bool operator==(const Listening&, const Listening&) = default;
};

/// What everyone who listens on a channel hears.
struct Broadcast {
  std::string channel;
  std::string wire;  ///< the envelope as it was broadcast, byte for byte

  friend bool operator==(const Broadcast&, const Broadcast&) = default;
};

/// What may be there since the last time. An adapter that cannot tell says both; a wake-up that it may have
/// missed is one, too.
struct Wake {
  bool jobs = false;
  bool broadcasts = false;
};

/// Moves jobs, and messages to everyone who listens. Delivery of jobs is at least once: a lease that is
/// neither settled nor renewed in time ends, and the job is handed out again. Each call is all or nothing.
/// Thread-safe; calls that wait for the outside world say so. All throw Error: 69 unreachable, 73 disk full
/// or not writable, 77 permission, 78 schema or URL, 75 busy for too long.
class Broker {
 public:
  virtual ~Broker() = default;

  /// Durable when it returns. A job whose id the broker already holds, waiting, delayed or leased, is left as
  /// it is; a dead letter of that id is purged, and the new one is new. Returns how many were new. Wakes idle
  /// workers of every process.
  virtual std::size_t publish(std::span<const Envelope> jobs) = 0;

  /// Whether publish_guarded() may be called with guards and records of `store`.
  virtual bool publishes_with(const Store&) const { return false; }
  /// publish(), and writes `records`, in one commit, so that what is remembered of the jobs is true whenever
  /// this process dies. Nothing happens, and nothing is returned, if one of `guards` does not hold by now.
  /// Only where publishes_with() the store of both; elsewhere Error (exit 70).
  virtual std::optional<std::size_t> publish_guarded(std::span<const Envelope> jobs,
                                                     const std::vector<StoreGuard>& guards,
                                                     const std::vector<StoreWrite>& records);

  /// Ends leases and takes new ones, in one transaction: one commit (or one round trip) for a whole batch.
  /// Records of settled jobs are written in the same commit if keeps_records_of() the store they belong to.
  /// Does not wait for jobs.
  virtual Exchange exchange(std::span<const Settlement> settled, const Demand& demand) = 0;

  /// Leases up to `demand.limit` ready jobs; those whose lease has expired count as ready.
  std::vector<Delivery> fetch(const Demand& demand) { return exchange({}, demand).deliveries; }
  /// Ends leases; returns those that were lost before.
  std::vector<Receipt> settle(std::span<const Settlement> settled) { return exchange(settled, {}).lost; }

  /// Makes each lease end no earlier than now + `lease`. Returns those that are lost.
  virtual std::vector<Receipt> renew(std::span<const Receipt> leases, Duration lease) = 0;

  /// Whether exchange() commits `record` of settlements together with the ack, when `store` is the result
  /// backend.
  virtual bool keeps_records_of(const Store& store) const = 0;

  /// A descriptor that polls readable when something may have become ready. Owned by the broker, valid for
  /// its life.
  virtual int wake_fd() const = 0;
  /// Makes wake_fd() unreadable until the next event; call it before the fetch that follows the wake-up.
  virtual Wake clear_wake() = 0;
  /// When, at the latest, a worker that found nothing in `queues` should look again without having been
  /// woken: the next delayed job or the next expiring lease. Empty = only a wake-up can bring work.
  virtual std::optional<WallTime> next_due(const std::vector<std::string>& queues) = 0;

  /// Says `message` to everyone who listens on `channel`, of whatever process, now or from an earlier
  /// position within `ttl`, which is above 0; nobody acknowledges it. A channel is a name, and there as soon
  /// as it is used; channels know nothing of queues, also those of the same name. Durable when it returns, as
  /// publish() is. Wakes all listeners. Sweeps some of what has expired, so that no channel grows for ever.
  virtual void broadcast(const std::string& channel, const Envelope& message, Duration ttl) = 0;
  /// What was said on each of `channels` behind its position and has not expired, at most `limit` messages of
  /// each: one channel after the other, each in the order in which it was said. Moves the positions behind
  /// what it returns, so that each listener hears each message once, and none twice or never: an adapter that
  /// numbers messages before it commits them must see to it that they become visible in the order of their
  /// numbers. An empty position is set to the channel's end, and nothing is returned. Does not wait;
  /// wake_fd() tells when to look again.
  virtual std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit) = 0;

  virtual std::optional<JobView> find(const std::string& id) = 0;
  /// Every queue that holds a job, sorted by name.
  virtual std::vector<QueueDepth> depths() = 0;

  /// Newest first; empty `queue` = all.
  virtual std::vector<DeadJob> dead_letters(const std::string& queue, std::size_t limit) = 0;
  /// Puts dead letters back, ready now, attempts counted from 0 again. Returns how many there were.
  virtual std::size_t replay(std::span<const std::string> ids) = 0;
  virtual std::size_t purge(std::span<const std::string> ids) = 0;
};

inline std::optional<std::size_t> Broker::publish_guarded(std::span<const Envelope>,
                                                          const std::vector<StoreGuard>&,
                                                          const std::vector<StoreWrite>&) {
  throw Error(Exit::software, "this broker cannot bind a publication to a store");
}

}  // namespace stem
