#include "worker/fleet.hpp"

#include <poll.h>

#include <algorithm>
#include <map>
#include <stem/error.hpp>

#include "core/id.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t heard_at_once = 1000;
/// Clocks of other machines may be this far ahead of ours.
constexpr Duration clock_allowance = seconds{10};
/// Where no worker seems to live, one may, whose heartbeat cannot be written: how long it is listened for.
constexpr Duration grace = seconds{1};
constexpr Duration look_for_ended = seconds{1};

using Who = std::pair<std::string, std::string>;  // node, host

}  // namespace

Fleet::Fleet(const Config& config, Storage storage, const Clock& clock)
    : storage_(std::move(storage)),
      clock_(clock),
      name_space_(config.name_space),
      answers_are_signed_(config.signing.on() && config.signing.algorithm != "ed25519"),
      signer_(PayloadSigner::maybe(config)),
      orders_(storage_.standing_orders(), name_space_, signer_, clock) {}

std::vector<Heartbeat> Fleet::alive(const std::vector<std::string>& nodes) {
  auto beats = read_heartbeats(*storage_.results, name_space_);
  if (!nodes.empty())
    std::erase_if(beats, [&](const auto& beat) {
      return std::find(nodes.begin(), nodes.end(), beat.node) == nodes.end();
    });
  return beats;
}

/// To each node that it names, or to all.
void Fleet::say(const ControlRequest& request, Duration ttl) {
  std::vector<std::string> channels;
  for (const auto& node : request.targets) channels.push_back(control_channel(name_space_, node));
  if (channels.empty()) channels.push_back(control_channel(name_space_));
  for (const auto& channel : channels) {
    auto envelope = to_envelope(request, channel);
    if (signer_) signer_->sign(envelope);
    if (to_wire(envelope).size() > longest_control_message)
      throw Error(Exit::usage, "the order is too long for a message; give fewer at a time");
    storage_.broker->broadcast(channel, envelope, ttl);
  }
}

void Fleet::tell(const std::string& type, const Json& payload, const std::vector<std::string>& nodes,
                 Duration ttl) {
  require_signer(signer_);
  ControlRequest request{.id = new_id(clock_.wall()),
                         .type = type,
                         .targets = nodes,
                         .payload = payload,
                         .issued = clock_.wall()};
  request.expires = request.issued + ttl;
  say(request, ttl);
}

std::optional<ControlReply> Fleet::reply_of(const Broadcast& said, const std::string& request) const {
  if (said.wire.size() > longest_control_message) return std::nullopt;
  try {
    const auto envelope = envelope_from_wire(said.wire);
    if (envelope.queue != said.channel) return std::nullopt;
    const bool is_signed = envelope.headers.contains("stem-signature");
    if (signer_ && (is_signed || answers_are_signed_) && signer_->verify(envelope)) return std::nullopt;
    auto reply = control_reply_from(envelope);
    if (reply.request != request) return std::nullopt;
    return reply;
  } catch (const Error&) {
    return std::nullopt;  // nobody we asked
  }
}

std::vector<FleetAnswer> Fleet::ask(const std::string& type, const Json& payload,
                                    const std::vector<std::string>& nodes, Duration timeout) {
  require_signer(signer_);
  const auto begun = clock_.steady();
  ControlRequest request{.id = new_id(clock_.wall()),
                         .type = type,
                         .targets = nodes,
                         .payload = payload,
                         .issued = clock_.wall()};
  const auto life = timeout + clock_allowance;
  request.expires = request.issued + life;

  // First the ears, then the question: no answer is missed.
  const auto channel = control_reply_channel(name_space_, request.id);
  std::vector<Listening> ears{{channel}};
  const int wake = storage_.broker->wake_fd();
  storage_.broker->listen(ears, 1);

  std::map<Who, FleetAnswer> answers;
  for (const auto& beat : alive(nodes))
    answers[{beat.node, beat.host}] = {.node = beat.node, .host = beat.host, .error = "no answer"};
  say(request, life);

  const auto deadline = begun + (answers.empty() ? std::min(timeout, grace) : timeout);
  auto next_look = clock_.steady() + look_for_ended;
  const auto waits = [&] {
    return answers.empty() || std::any_of(answers.begin(), answers.end(), [](const auto& one) {
             return one.second.kind == FleetAnswer::Kind::silent;
           });
  };
  while (waits()) {
    for (const auto& said : storage_.broker->listen(ears, heard_at_once)) {
      auto reply = reply_of(said, request.id);
      if (!reply) continue;
      auto& answer = answers[{reply->node, reply->host}];
      answer = {.node = reply->node,
                .host = reply->host,
                .kind = reply->error.empty() ? FleetAnswer::Kind::done : FleetAnswer::Kind::refused,
                .payload = std::move(reply->payload),
                .error = std::move(reply->error),
                .took = duration_cast<Duration>(clock_.steady() - begun)};
    }
    const auto now = clock_.steady();
    if (!waits() || now >= deadline) break;
    if (now >= next_look) {
      next_look = now + look_for_ended;
      const auto living = alive(nodes);
      for (auto& [who, answer] : answers) {
        const auto lives = [&who = who](const auto& beat) {
          return beat.node == who.first && beat.host == who.second;
        };
        if (answer.kind != FleetAnswer::Kind::silent || std::any_of(living.begin(), living.end(), lives))
          continue;
        answer.kind = FleetAnswer::Kind::ended;
        answer.error = "it ended before it answered";
      }
    }
    const auto left = std::chrono::ceil<milliseconds>(std::min(deadline, next_look) - now).count();
    pollfd one{.fd = wake, .events = POLLIN, .revents = 0};
    if (poll(&one, wake < 0 ? 0 : 1, static_cast<int>(std::clamp<std::int64_t>(left, 1, 1000))) > 0)
      storage_.broker->clear_wake();
  }

  std::vector<FleetAnswer> all;
  for (auto& [who, answer] : answers) all.push_back(std::move(answer));
  for (const auto& node : nodes)
    if (std::none_of(all.begin(), all.end(), [&](const auto& answer) { return answer.node == node; }))
      all.push_back({.node = node,
                     .host = {},
                     .kind = FleetAnswer::Kind::absent,
                     .error = "no worker of that name lives"});
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return std::tie(a.node, a.host) < std::tie(b.node, b.host);
  });
  return all;
}

}  // namespace stem
