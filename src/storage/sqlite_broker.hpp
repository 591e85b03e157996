#pragma once

#include <memory>
#include <mutex>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "storage/bell.hpp"
#include "storage/broker.hpp"
#include "storage/sqlite_database.hpp"
#include "storage/sqlite_dead_letters.hpp"
#include "storage/sqlite_entries.hpp"
#include "storage/sqlite_fetcher.hpp"
#include "storage/sqlite_jobs.hpp"
#include "storage/sqlite_leases.hpp"
#include "storage/sqlite_messages.hpp"
#include "storage/sqlite_queues.hpp"
#include "storage/sqlite_settling.hpp"
#include "storage/sqlite_view.hpp"

namespace stem {

/// The broker on a SQLite file that any number of processes share. Publishing and settling are on disk when
/// they return; taking and renewing leases is not, for a lease that a power cut undoes only makes its job run
/// again. A commit is followed by a ring of the bell; a process that dies between the two leaves its jobs to
/// the slow looks of idle workers. The tables are told of in docs/sqlite.md.
class SqliteBroker : public Broker {
 public:
  /// `clock` must outlive it.
  SqliteBroker(std::shared_ptr<SqliteDatabase> database, const Clock& clock);

  std::size_t publish(std::span<const Envelope> jobs) override;
  bool publishes_with(const Store& store) const override { return keeps_records_of(store); }
  std::optional<std::size_t> publish_guarded(std::span<const Envelope> jobs,
                                             const std::vector<StoreGuard>& guards,
                                             const std::vector<StoreWrite>& records) override;
  Exchange exchange(std::span<const Settlement> settled, const Demand& demand) override;
  std::vector<Receipt> renew(std::span<const Receipt> leases, Duration lease) override;
  bool keeps_records_of(const Store& store) const override;
  int wake_fd() const override { return watch().fd(); }
  /// Says both: one bell rings for both, and looking for broadcasts is cheap.
  Wake clear_wake() override;
  std::optional<WallTime> next_due(const std::vector<std::string>& queues) override;
  void broadcast(const std::string& channel, const Envelope& message, Duration ttl) override;
  std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit) override;
  std::optional<JobView> find(const std::string& id) override;
  std::vector<QueueDepth> depths() override;
  std::vector<DeadJob> dead_letters(const std::string& queue, std::size_t limit) override;
  std::size_t replay(std::span<const std::string> ids) override;
  std::size_t purge(std::span<const std::string> ids) override;

 private:
  BellWatch& watch() const;

  const std::shared_ptr<SqliteDatabase> database_;
  const Clock& clock_;
  const Bell jobs_bell_;
  const Bell records_bell_;

  // Made when somebody first waits, which producers never do.
  mutable std::once_flag watched_;
  mutable std::unique_ptr<BellWatch> watch_;

  // The rest is guarded by a transaction's hold on the database.
  SqliteQueues queues_;
  SqliteLeases leases_;
  SqliteJobs jobs_;
  SqliteFetcher fetcher_;
  SqliteSettling settling_;
  SqliteDeadLetters dead_letters_;
  SqliteView view_;
  SqliteEntries entries_;
  SqliteMessages messages_;
};

}  // namespace stem
