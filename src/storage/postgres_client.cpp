#include "storage/postgres_client.hpp"

#include <random>
#include <thread>

#include "storage/postgres_schema.hpp"

namespace stem {
namespace {

// A worker's broker thread has one all the time; handlers that enqueue, or wait for results, share the
// others.
constexpr int most_connections = 4;
constexpr int most_collisions = 10;

/// Those who collided do not meet again at once.
void pause_after(int collisions) {
  thread_local std::minstd_rand random{std::random_device{}()};
  std::this_thread::sleep_for(std::chrono::microseconds(
      std::uniform_int_distribution<int>(500, 2'000 << std::min(collisions, 5))(random)));
}

}  // namespace

std::unique_ptr<PostgresConnection> PostgresClient::connect() {
  try {
    auto connection = std::make_unique<PostgresConnection>(address_);
    was_connected_ = true;
    return connection;
  } catch (const PostgresError& error) {
    // A certificate that was right once comes right again, unlike what the server itself refuses.
    if (address_.trust.asked && was_connected_ && error.code() == Exit::config && error.state().empty())
      throw PostgresError(Exit::unavailable, error.what(), "");
    throw;
  }
}

std::unique_ptr<PostgresConnection> PostgresClient::take() {
  std::unique_lock lock(mutex_);
  returned_.wait(lock, [&] { return taken_ < most_connections; });
  ++taken_;
  while (!idle_.empty()) {
    auto connection = std::move(idle_.back());
    idle_.pop_back();
    if (!connection->is_stale()) return connection;
  }
  lock.unlock();
  try {
    auto connection = connect();
    bring_up_to_date(*connection, address_.schema);
    return connection;
  } catch (...) {
    give_back(nullptr);
    throw;
  }
}

void PostgresClient::give_back(std::unique_ptr<PostgresConnection> connection) {
  {
    const std::lock_guard lock(mutex_);
    --taken_;
    if (connection && connection->is_usable()) idle_.push_back(std::move(connection));
  }
  returned_.notify_one();
}

void PostgresClient::converse(const std::function<void(PostgresConnection&)>& conversation) {
  for (int collisions = 0;; ++collisions) {
    std::unique_ptr<PostgresConnection> connection;
    try {
      connection = take();
      conversation(*connection);
      give_back(std::move(connection));
      return;
    } catch (const PostgresError& error) {
      if (connection) give_back(std::move(connection));
      if (!error.is_collision() || collisions == most_collisions) throw;
    } catch (...) {
      if (connection) give_back(std::move(connection));
      throw;
    }
    pause_after(collisions);
  }
}

std::vector<PostgresRows> PostgresClient::run(const std::vector<PostgresCall>& calls,
                                              const std::vector<PostgresCall>& afterwards) {
  std::vector<PostgresRows> rows;
  converse([&](PostgresConnection& connection) { rows = connection.run(calls, afterwards); });
  return rows;
}

PostgresRows PostgresClient::run(const PostgresStatement& statement, const PostgresParameters& parameters) {
  auto rows = run({{statement, parameters}});
  return std::move(rows.at(0));
}

}  // namespace stem
