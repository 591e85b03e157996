#pragma once

#include <memory>
#include <optional>
#include <stem/envelope.hpp>
#include <stem/signing.hpp>
#include <string>
#include <vector>

#include "core/revocation.hpp"
#include "storage/store.hpp"

namespace stem {

/// What workers of a namespace have to obey whenever they start: revoked jobs and paused queues, in a store.
/// Each is an envelope under a key that it names as its queue, signed where signing is configured; who reads
/// believes no other.
class StandingOrders {
 public:
  /// `store` and `clock` outlive it.
  StandingOrders(Store& store, std::string name_space, std::optional<PayloadSigner> signer,
                 const Clock& clock)
      : store_(store), name_space_(std::move(name_space)), signer_(std::move(signer)), clock_(clock) {}

  /// Remembered when they return, in one commit. Throw Error as Store does, and 78 if they cannot be signed.
  void revoke(const std::vector<Revocation>& revocations);
  void pause(const std::vector<PausedQueue>& queues);
  /// For these nodes, as far as they were paused by name; without any, for all, however they were paused.
  void resume(const std::vector<std::string>& queues, const std::vector<std::string>& nodes = {});

  struct All {
    std::vector<Revocation> revocations;
    std::vector<PausedQueue> paused;
    std::vector<std::string> refused;  ///< keys of orders that are not to be believed, and why
  };
  /// All that hold now.
  All read();
  std::vector<PausedQueue> paused(std::vector<std::string>* refused = nullptr);

 private:
  StoreWrite write(const std::string& key, const char* name, Json args, Duration ttl);
  template <class Take>
  void each(const std::string& prefix, const char* name, std::vector<std::string>* refused, Take take);
  std::string key(const char* kind, const std::string& name) const;
  std::string pause_key(const std::string& queue, const std::string& node) const;

  Store& store_;
  const std::string name_space_;
  const std::optional<PayloadSigner> signer_;
  const Clock& clock_;
};

/// Throws Error (exit 78) with what to do if orders have to be signed and `signer` cannot.
void require_signer(const std::optional<PayloadSigner>& signer);

}  // namespace stem
