#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "storage/postgres_connection.hpp"

namespace stem {

/// The connections that a broker and a store share: made when they are used, kept, and replaced when they
/// were lost. Each failure is thrown; the next call tries anew. Thread-safe: as many conversations at once as
/// there are connections.
class PostgresClient {
 public:
  explicit PostgresClient(PostgresAddress address) : address_(std::move(address)) {}

  /// Has a conversation; again if it collided with another (a deadlock, say), so it must begin and end its
  /// transactions itself. Throws Error as PostgresConnection does.
  void converse(const std::function<void(PostgresConnection&)>& conversation);
  /// PostgresConnection::run() as a conversation.
  std::vector<PostgresRows> run(const std::vector<PostgresCall>& calls,
                                const std::vector<PostgresCall>& afterwards = {});
  PostgresRows run(const PostgresStatement& statement, const PostgresParameters& parameters);

  const PostgresAddress& address() const { return address_; }
  /// What workers, or those who wait for values, listen on.
  std::string channel(const std::string& name) const { return address_.schema + ":" + name; }

 private:
  std::unique_ptr<PostgresConnection> connect();
  std::unique_ptr<PostgresConnection> take();
  void give_back(std::unique_ptr<PostgresConnection> connection);

  const PostgresAddress address_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<PostgresConnection>> idle_;
  int taken_ = 0;
  std::atomic<bool> was_connected_{false};
};

}  // namespace stem
