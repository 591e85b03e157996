#include "worker/standing_orders.hpp"

#include <stem/error.hpp>

#include "core/id.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

constexpr std::size_t page = 500;
constexpr std::size_t most_nodes = 100'000;
constexpr const char* revocation_name = "__stem.revocation__";
constexpr const char* pause_name = "__stem.pause__";

}  // namespace

void require_signer(const std::optional<PayloadSigner>& signer) {
  if (signer && !signer->can_sign())
    throw Error(Exit::config,
                "orders to workers have to be signed, and this configuration cannot sign: set "
                "STEM_SIGNING_PRIVATE_KEYS and "
                "STEM_SIGNING_ACTIVE_KEY");
}

std::string StandingOrders::pause_key(const std::string& queue, const std::string& node) const {
  return key("pause", node.empty() ? queue : queue + "@" + node);
}

std::string StandingOrders::key(const char* kind, const std::string& name) const {
  return std::string(kind) + ":" + name_space_ + ":" + name;
}

StoreWrite StandingOrders::write(const std::string& key, const char* name, Json args, Duration ttl) {
  Envelope envelope;
  envelope.enqueued_at = clock_.wall();
  envelope.id = new_id(envelope.enqueued_at);
  envelope.name = name;
  envelope.args = std::move(args);
  envelope.queue = key;
  if (signer_) signer_->sign(envelope);
  return {key, to_wire(envelope), ttl};
}

void StandingOrders::revoke(const std::vector<Revocation>& revocations) {
  require_signer(signer_);
  const auto now = clock_.wall();
  std::vector<StoreWrite> writes;
  for (const auto& one : revocations) {
    if (!one.holds(now)) continue;
    writes.push_back(write(key("revoke", one.job), revocation_name, to_json(one, name_space_),
                           one.expires ? *one.expires - now : Duration::zero()));
  }
  store_.put(writes);
}

void StandingOrders::pause(const std::vector<PausedQueue>& queues) {
  require_signer(signer_);
  std::vector<StoreWrite> writes;
  for (const auto& one : queues)
    writes.push_back(write(pause_key(one.queue, one.node), pause_name, to_json(one, name_space_), {}));
  store_.put(writes);
}

void StandingOrders::resume(const std::vector<std::string>& queues, const std::vector<std::string>& nodes) {
  for (const auto& queue : queues) {
    for (const auto& node : nodes) store_.erase(pause_key(queue, node));
    if (!nodes.empty()) continue;
    store_.erase(pause_key(queue, ""));
    // A queue's name holds no `@`, so nothing of another queue has this beginning.
    for (const auto& entry : store_.list(pause_key(queue, "") + "@", most_nodes)) store_.erase(entry.key);
  }
}

template <class Take>
void StandingOrders::each(const std::string& prefix, const char* name, std::vector<std::string>* refused,
                          Take take) {
  std::string after;
  for (bool more = true; more;) {
    const auto entries = store_.list(prefix, page, after);
    more = entries.size() == page;
    for (const auto& entry : entries) {
      after = entry.key;
      try {
        const auto envelope = envelope_from_wire(entry.value);
        if (envelope.name != name || envelope.queue != entry.key)
          throw Error(Exit::data, "it was written for another place");
        if (signer_)
          if (const auto fault = signer_->verify(envelope)) throw Error(Exit::data, fault->reason);
        // A namespace may be the beginning of another's name.
        if (envelope.args.value("namespace", Json()) == name_space_) take(envelope.args);
      } catch (const Error& error) {
        if (refused) refused->push_back(printable(entry.key) + ": " + error.what());
      } catch (const Json::exception&) {
        if (refused) refused->push_back(printable(entry.key) + ": it is no object");
      }
    }
  }
}

StandingOrders::All StandingOrders::read() {
  All all;
  const auto now = clock_.wall();
  each(key("revoke", ""), revocation_name, &all.refused, [&](const Json& args) {
    if (auto one = revocation_from(args); one.holds(now)) all.revocations.push_back(std::move(one));
  });
  all.paused = paused(&all.refused);
  return all;
}

std::vector<PausedQueue> StandingOrders::paused(std::vector<std::string>* refused) {
  std::vector<PausedQueue> all;
  each(key("pause", ""), pause_name, refused,
       [&](const Json& args) { all.push_back(paused_queue_from(args)); });
  return all;
}

}  // namespace stem
