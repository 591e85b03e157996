#include "worker/control_listener.hpp"

#include <spdlog/spdlog.h>

#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {
namespace {

constexpr std::size_t heard_at_once = 100;
constexpr std::size_t most_remembered = 10'000;  // requests, so that a flood takes a bounded place
constexpr std::chrono::seconds answer_life{60};
constexpr std::chrono::seconds told_every{10};  // a line of the log for what is refused

}  // namespace

ControlListener::ControlListener(Broker& broker, Identity self, std::optional<PayloadSigner> signer,
                                 const Clock& clock, Obey obey)
    : broker_(broker),
      self_(std::move(self)),
      signer_(std::move(signer)),
      clock_(clock),
      obey_(std::move(obey)) {}

void ControlListener::begin() {
  std::vector<Listening> ears{{control_channel(self_.name_space)},
                              {control_channel(self_.name_space, self_.node)}};
  broker_.listen(ears, heard_at_once);
  ears_ = std::move(ears);
}

void ControlListener::hear() {
  for (bool more = true; more;) {
    const auto said = broker_.listen(ears_, heard_at_once);
    more = said.size() >= heard_at_once;
    for (const auto& one : said) take(one);
  }
}

ControlRequest ControlListener::believe(const Broadcast& said) const {
  if (said.wire.size() > longest_control_message) throw Error(Exit::data, "it is too long");
  const auto envelope = envelope_from_wire(said.wire);
  if (envelope.queue != said.channel)
    throw Error(Exit::data, "it was said on another channel: " + printable(envelope.queue));
  if (signer_)
    if (const auto fault = signer_->verify(envelope)) throw Error(Exit::data, fault->reason);
  auto request = control_request_from(envelope);
  if (request.expires > clock_.wall() + longest_control_life) throw Error(Exit::data, "it expires too late");
  return request;
}

bool ControlListener::heard_before(const ControlRequest& request, WallTime now) {
  if (heard_.contains(request.id)) return true;
  if (heard_.size() >= most_remembered)
    std::erase_if(heard_, [&](const auto& one) { return one.second <= now; });
  if (heard_.size() >= most_remembered) throw Error(Exit::data, "too many orders at once");
  heard_.emplace(request.id, request.expires);
  return false;
}

void ControlListener::take(const Broadcast& said) {
  std::optional<ControlRequest> request;
  try {
    request = believe(said);
    if (!request->is_for(self_.node)) return;
    const auto now = clock_.wall();
    if (request->expires <= now) {
      spdlog::info("an order to {} that expired at {} is not obeyed", printable(request->type),
                   format_time(request->expires));
      return;
    }
    if (heard_before(*request, now)) return;
  } catch (const std::exception& error) {
    return refuse(said.channel, error.what());
  }
  answer(*request);
}

void ControlListener::answer(const ControlRequest& request) {
  ControlReply reply{
      .request = request.id, .node = self_.node, .host = self_.host, .payload = Json::object(), .error = {}};
  try {
    reply.payload = obey_(request);
  } catch (const std::exception& error) {
    reply.error = error.what();
  }
  const auto channel = control_reply_channel(self_.name_space, request.id);
  const auto say = [&] {
    auto envelope = to_envelope(reply, channel, clock_.wall());
    if (signer_ && signer_->can_sign()) signer_->sign(envelope);
    broker_.broadcast(channel, envelope, answer_life);
  };
  try {
    say();
  } catch (const Error& error) {
    if (error.code() != Exit::data) throw;
    reply.payload = Json::object();
    reply.error = error.what();
    say();
  }
}

/// One line now and then, however much of it comes.
void ControlListener::refuse(const std::string& channel, const std::string& why) {
  ++refused_;
  ++untold_;
  const auto now = clock_.steady();
  if (told_ && now - *told_ < told_every) return;
  spdlog::warn("{} on {} not obeyed: {}", untold_ == 1 ? "an order" : std::to_string(untold_) + " orders",
               channel, why);
  told_ = now;
  untold_ = 0;
}

}  // namespace stem
