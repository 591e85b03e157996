#pragma once

#include <functional>
#include <map>
#include <optional>
#include <stem/signing.hpp>
#include <string>
#include <vector>

#include "core/control_message.hpp"
#include "storage/broker.hpp"

namespace stem {

/// Hears what workers are told, believes or refuses it, has it done and answers. What is malformed, too long,
/// not rightly signed, meant for another node, expired or heard before is not done. One thread.
class ControlListener {
 public:
  struct Identity {
    std::string node;
    std::string host;
    std::string name_space;
  };
  /// Does what it is told and returns the answer's payload. An Error becomes the answer's.
  using Obey = std::function<Json(const ControlRequest&)>;

  /// `broker` and `clock` outlive it.
  ControlListener(Broker& broker, Identity self, std::optional<PayloadSigner> signer, const Clock& clock,
                  Obey obey);

  /// What is said from now on will be heard. Throws as the broker does.
  void begin();
  /// Hears all that was said since. Throws as the broker does, then with the rest unheard.
  void hear();

  std::uint64_t refused() const { return refused_; }

 private:
  void take(const Broadcast& said);
  ControlRequest believe(const Broadcast& said) const;
  bool heard_before(const ControlRequest& request, WallTime now);
  void answer(const ControlRequest& request);
  void refuse(const std::string& channel, const std::string& why);

  Broker& broker_;
  const Identity self_;
  const std::optional<PayloadSigner> signer_;
  const Clock& clock_;
  const Obey obey_;
  std::vector<Listening> ears_;
  std::map<std::string, WallTime> heard_;  // requests by id, until they expire
  std::uint64_t refused_ = 0, untold_ = 0;
  std::optional<SteadyTime> told_;
};

}  // namespace stem
