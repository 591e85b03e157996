#include <doctest/doctest.h>

#include "core/canvas_part.hpp"
#include "core/token_bucket.hpp"
#include "core/unique_key.hpp"
#include "core/wishes.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

Envelope sample() {
  Envelope envelope;
  envelope.id = "one";
  envelope.name = "t";
  envelope.meta = {{"stem.task", "t"}};
  return envelope;
}

const auto noon = parse_time("2025-01-02T12:00:00Z");

}  // namespace

TEST_CASE("wishes: what is put into an envelope is read back") {
  auto envelope = sample();
  const Wishes wishes{.max_retries = 4,
                      .retry = RetryPolicy{3s, 90s, 1.5, 0.125},
                      .expires = noon,
                      .result_ttl = 90min,
                      .ignore_result = true};
  put_wishes(envelope, wishes);
  CHECK(wishes_of(envelope_from_wire(to_wire(envelope))) == wishes);
  CHECK(wishes_of(sample()) == Wishes{});
}

TEST_CASE("wishes: retry policies of other implementations are understood") {
  auto envelope = sample();
  const auto policy = [&](Json json) {
    envelope.meta["stem.retryPolicy"] = std::move(json);
    return wishes_of(envelope).retry;
  };
  CHECK(policy({{"defaultDelayMs", 1500}}) == RetryPolicy{1500ms, 5min, 1.0, 0.0});
  CHECK(policy({{"backoff", true}, {"defaultDelayMs", 500}, {"backoffMaxMs", 8000}}) ==
        RetryPolicy{500ms, 8s, 2.0, 0.25});
  CHECK(policy({{"backoff", true}, {"jitter", false}, {"backoffMaxMs", 8000}}) ==
        RetryPolicy{8s, 8s, 2.0, 0.0});
  CHECK(policy({{"backoff", false}, {"defaultDelayMs", 600000}}) == RetryPolicy{10min, 10min, 1.0, 0.0});
  CHECK(policy({{"maxRetries", 2}}) == std::nullopt);
  CHECK(policy("often") == std::nullopt);
  CHECK(policy({{"defaultDelayMs", "soon"}}) == std::nullopt);
}

TEST_CASE("wishes: an expiry that cannot be read is an error, whatever else cannot is not asked for") {
  auto envelope = sample();
  envelope.meta["stem.resultTtlMs"] = -5;
  envelope.meta["stem.ignoreResult"] = "no";
  CHECK(wishes_of(envelope) == Wishes{});
  envelope.meta["stem.ignoreResult"] = "yes";
  CHECK(wishes_of(envelope).ignore_result);
  envelope.meta["stem.expiresAt"] = 12;
  CHECK(error_of([&] { wishes_of(envelope); }).says("'stem.expiresAt' must be an ISO 8601 time"));
  envelope.meta["stem.expiresAt"] = "tomorrow";
  CHECK(error_of([&] { wishes_of(envelope); }).status == 65);
}

TEST_CASE("rate limit: it is read as people write it") {
  CHECK(RateLimit::parse("10/s") == RateLimit{10, 1s});
  CHECK(RateLimit::parse("100/m") == RateLimit{100, 1min});
  CHECK(RateLimit::parse("3/h") == RateLimit{3, 1h});
  CHECK(RateLimit::parse("500/d burst 7") == RateLimit{500, 24h, 7});
  for (const auto* bad : {"", "10", "10/", "/s", "0/s", "-1/s", "10/w", "10/sec", "10/s burst",
                          "10/s burst 0", "10/s burst 5 ", "9999999/s"}) {
    CAPTURE(bad);
    CHECK(error_of([&] { RateLimit::parse(bad); }).status == 78);
  }
  CHECK(error_of([] { RateLimit{1, 0s}.validate(); }).says("time"));
  CHECK(error_of([] { RateLimit{1, 1s, -1}.validate(); }).says("burst"));
  CHECK(error_of([] { RateLimit::parse("1/d burst 90000"); }).says("36500d"));
  CHECK(error_of([] { RateLimit{1, 24h * 366, 1000}.validate(); }).status == 78);
  RateLimit{1, 24h * 365, 99}.validate();
}

TEST_CASE("token bucket: a full one gives its burst, then a token at a time") {
  const RateLimit limit{10, 1s};
  TokenBucket bucket;
  CHECK(bucket.take(limit, noon, 4).tokens == 4);
  CHECK(bucket.take(limit, noon, 100).tokens == 6);
  const auto none = bucket.take(limit, noon, 1);
  CHECK(none.tokens == 0);
  CHECK(none.next == noon + 100ms);
  CHECK(none.ttl == 1s);
  CHECK(bucket.take(limit, noon + 100ms - 1us, 1).tokens == 0);
  CHECK(bucket.take(limit, noon + 100ms, 5).tokens == 1);
  CHECK(bucket.take(limit, noon + 10s, 100).tokens == 10);
}

TEST_CASE("token bucket: never more than the burst and what time brings") {
  const RateLimit limit{3, 1s, 2};
  TokenBucket bucket;
  int taken = 0;
  for (auto now = noon; now < noon + 10s; now += 7ms) taken += bucket.take(limit, now, 1).tokens;
  CHECK(taken <= 2 + 30);
  CHECK(taken >= 30);
}

TEST_CASE("token bucket: one that takes a century to fill gives what it has") {
  const auto limit = RateLimit::parse("1/d burst 36500");
  TokenBucket bucket;
  CHECK(bucket.take(limit, noon, 40'000).tokens == 36'500);
  CHECK(bucket.take(limit, noon, 1).next == noon + 24h);
}

TEST_CASE("token bucket: a clock that was set back, or a limit made smaller, keeps nobody out for long") {
  TokenBucket bucket;
  bucket.take({10, 1s}, noon + 1h, 10);
  const auto taken = bucket.take({10, 1s}, noon, 1);
  CHECK(taken.tokens == 0);
  CHECK(taken.next == noon + 100ms);
}

TEST_CASE("unique key: the arguments' hash, whatever the order of their keys, or what was chosen") {
  CHECK(unique_key("", Json::parse(R"({"n":1,"to":"a@b.c"})")) ==
        unique_key("", Json::parse(R"({ "to": "a@b.c", "n": 1 })")));
  CHECK(unique_key("", {{"n", 1}}) != unique_key("", {{"n", 2}}));
  // sha256sum of {"n":1}
  CHECK(unique_key("", {{"n", 1}}) == "2bfd14f43d17fc7cea24e0917a8879b4b2f880b8baeec1b9d90fbaad655e71bd");
  CHECK(unique_key("report 42", {}) == "report 42");
  CHECK(error_of([] { unique_key("a\nb", {}); }).status == 64);
  CHECK(error_of([] { unique_key(std::string(129, 'x'), {}); }).status == 64);
  CHECK(error_of([] { unique_key("", {{"x", "\xff"}}); }).status == 65);
  // Names of tasks may hold colons.
  CHECK(unique_store_key("a:b", "c") != unique_store_key("a", "b:c"));
  const UniqueHolder holder{"one", UniqueUntil::window, false};
  CHECK(unique_holder_from_wire(to_wire(holder)) == holder);
  CHECK(error_of([] { unique_holder_from_wire("{}"); }).status == 65);
}

TEST_CASE("canvas part: what an envelope says of its place among others is read back") {
  auto next = sample();
  next.id = "next";
  next.args = {{"ratio", 1.0}};
  CanvasPart part;
  part.group = "g";
  part.index = 7;
  part.size = 9;
  part.chord = true;
  part.follows = true;
  part.then = {next};
  part.on_failure = {next, next};
  auto envelope = sample();
  put_canvas_part(envelope, part);
  CHECK(envelope.headers.at("stem-group-id") == "g");
  CHECK(envelope.headers.at("stem-chord-id") == "g");
  const auto read = canvas_part(envelope_from_wire(to_wire(envelope)));
  REQUIRE(read);
  CHECK(read->group == "g");
  CHECK(read->index == 7);
  CHECK(read->size == 9);
  CHECK(read->chord);
  CHECK(read->follows);
  CHECK(read->then == std::vector{next});
  CHECK(read->on_failure.size() == 2);
  CHECK_FALSE(read->is_callback());

  envelope = sample();
  CanvasPart callback;
  callback.callback_of = "g";
  callback.size = 9;
  put_canvas_part(envelope, callback);
  CHECK(canvas_part(envelope)->callback_of == "g");
  CHECK_FALSE(canvas_part(envelope)->is_member());
  CHECK_FALSE(canvas_part(sample()));
}

TEST_CASE("canvas part: what cannot be read is an error, what others write is understood") {
  const auto fault = [](const Json& meta) {
    auto envelope = sample();
    envelope.meta.update(meta);
    return error_of([&] { canvas_part(envelope); });
  };
  CHECK(fault({{"groupId", "g"}, {"stem.group.index", 9}, {"stem.group.size", 9}}).says("stem.group.index"));
  CHECK(fault({{"groupId", "g"}, {"stem.group.index", -1}, {"stem.group.size", 9}}).says("stem.group.index"));
  CHECK(fault({{"groupId", "g"}, {"stem.group.index", 1}, {"stem.group.size", "many"}})
            .says("stem.group.size"));
  CHECK(fault({{"groupId", 5}, {"stem.group.index", 1}, {"stem.group.size", 9}}).says("groupId"));
  CHECK(fault({{"stem.group.index", 1}}).says("groupId"));
  CHECK(fault({{"stem.chord.callback", true}}).says("chordId"));
  CHECK(fault({{"stem.link", 5}}).says("stem.link"));
  CHECK(fault({{"stem.link", {{{"name", "t"}}}}}).status == 65);
  // A group of another implementation has no numbers: its books are not ours.
  CHECK(fault({{"groupId", "g"}}).status == 0);
  auto envelope = sample();
  envelope.meta["stem.link"] = {{{"name", "next"}, {"args", Json::object()}, {"options", {{"priority", 3}}}}};
  CHECK(canvas_part(envelope)->then.at(0).id == "one.stem.link-0");
}
