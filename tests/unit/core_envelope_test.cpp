#include <doctest/doctest.h>

#include <stem/envelope.hpp>
#include <stem/error.hpp>
#include <stem/result.hpp>

using namespace stem;
using namespace std::chrono_literals;

namespace {

Envelope sample() {
  Envelope envelope;
  envelope.id = "0190f7c2-9f00-7000-8000-000000000001";
  envelope.name = "email.send";
  envelope.args = {{"to", "a@b.c"}, {"n", 1}, {"ratio", 1.0}, {"tags", {"x", "é"}}};
  envelope.headers = {{"stem-args-encoder", "json"}};
  envelope.enqueued_at = parse_time("2025-01-02T03:04:05.678901Z");
  envelope.priority = 3;
  envelope.max_retries = 5;
  envelope.meta = {{"stem.task", "email.send"}};
  return envelope;
}

std::string error_of(const std::string& wire) {
  try {
    envelope_from_wire(wire);
  } catch (const Error& error) {
    CHECK(error.code() == Exit::data);
    return error.what();
  }
  return "accepted";
}

std::string refusal(const Envelope& envelope) {
  try {
    validate(envelope);
  } catch (const Error& error) {
    CHECK(error.code() == Exit::usage);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("envelope: the wire form has all twelve keys in their order") {
  CHECK(
      to_wire(sample()) ==
      R"({"id":"0190f7c2-9f00-7000-8000-000000000001","name":"email.send","args":{"n":1,"ratio":1.0,)"
      R"("tags":["x","é"],"to":"a@b.c"},"headers":{"stem-args-encoder":"json"},)"
      R"("enqueuedAt":"2025-01-02T03:04:05.678901Z","notBefore":null,"priority":3,"attempt":0,"maxRetries":5,)"
      R"("visibilityTimeout":null,"queue":"default","meta":{"stem.task":"email.send"}})");
}

TEST_CASE("envelope: what is written is read back") {
  auto envelope = sample();
  CHECK(envelope_from_wire(to_wire(envelope)) == envelope);
  envelope.not_before = parse_time("2030-01-01T00:00:00Z");
  envelope.visibility_timeout = 90s;
  CHECK(envelope_from_wire(to_wire(envelope)) == envelope);
}

TEST_CASE("envelope: absent keys take their defaults, unknown ones are ignored") {
  const auto envelope = envelope_from_wire(R"({"id":"1","name":"t","args":{},"colour":"blue"})");
  CHECK(envelope.queue == "default");
  CHECK(envelope.priority == 0);
  CHECK(envelope.max_retries == 0);
  CHECK_FALSE(envelope.not_before);
}

TEST_CASE(
    "envelope: what nobody asks for may hold anything, and keys inside of it are not those of the envelope") {
  const auto envelope = envelope_from_wire(
      R"({"x":{"id":7,"args":[1,{"name":null}],"headers":{"a":1}},"y":[[],{},-1,1.5,true,null,"queue"],"id":"1","name":"t",)"
      R"("args":{"id":2,"headers":{"a":[1,{"b":-2}]},"args":{"args":{}},"":""},"meta":{"args":[]},"headers":{"id":"h"}})");
  CHECK(envelope.id == "1");
  CHECK(envelope.args == Json::parse(R"({"id":2,"headers":{"a":[1,{"b":-2}]},"args":{"args":{}},"":""})"));
  CHECK(envelope.args["id"].is_number_unsigned());
  CHECK(envelope.meta == Json{{"args", Json::array()}});
  CHECK(envelope.headers == std::map<std::string, std::string>{{"id", "h"}});
  CHECK(envelope.queue == "default");
}

TEST_CASE("envelope: of a key that is there twice the last counts") {
  const auto envelope =
      envelope_from_wire(R"({"id":"1","id":"2","name":"t","args":{"a":1,"b":2},"args":{"a":{"c":3},"a":4}})");
  CHECK(envelope.id == "2");
  CHECK(envelope.args == Json{{"a", 4}});
}

TEST_CASE("envelope: a priority of another system is brought into the range") {
  CHECK(envelope_from_wire(R"({"id":"1","name":"t","args":{},"priority":42})").priority == 9);
  CHECK(envelope_from_wire(R"({"id":"1","name":"t","args":{},"priority":-1})").priority == 0);
}

TEST_CASE("envelope: each malformed one is refused and the key is named") {
  CHECK(error_of("") == "malformed envelope: it is not JSON");
  CHECK(error_of("[]") == "malformed envelope: it is not a JSON object");
  CHECK(error_of(R"({"name":"t","args":{}})") == "malformed envelope: 'id' is missing");
  CHECK(error_of(R"({"id":"1","args":{}})") == "malformed envelope: 'name' is missing");
  CHECK(error_of(R"({"id":"1","name":"t"})") == "malformed envelope: 'args' is missing");
  CHECK(error_of(R"({"id":1,"name":"t","args":{}})") == "malformed envelope: 'id' must be a string");
  CHECK(error_of(R"({"id":"1","name":"t","args":null})") == "malformed envelope: 'args' is missing");
  CHECK(error_of("7") == "malformed envelope: it is not a JSON object");
  CHECK(error_of(R"({"id":"1","name":"t","args":{}} x)") == "malformed envelope: it is not JSON");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"headers":{"a":{}}})") ==
        "malformed envelope: header 'a' must be a string");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"headers":[]})") ==
        "malformed envelope: 'headers' must be an object");
  CHECK(error_of(R"({"id":{},"name":"t","args":{}})") == "malformed envelope: 'id' must be a string");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"meta":"x"})") ==
        "malformed envelope: 'meta' must be an object");
  CHECK(error_of(R"({"id":"1","name":"t","args":[]})") == "malformed envelope: 'args' must be an object");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"headers":{"a":1}})") ==
        "malformed envelope: header 'a' must be a string");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"attempt":-1})") ==
        "malformed envelope: 'attempt' is out of range");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"attempt":18446744073709551615})") ==
        "malformed envelope: 'attempt' is out of range");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"attempt":1.5})") ==
        "malformed envelope: 'attempt' must be an integer");
  CHECK(error_of(R"({"id":"1","name":"t","args":{},"notBefore":5})") ==
        "malformed envelope: 'notBefore' must be an ISO 8601 time");
}

TEST_CASE("envelope: cut off at any byte it is refused, never misread") {
  const auto whole = to_wire(sample());
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK_THROWS_AS(envelope_from_wire(whole.substr(0, length)), Error);
}

TEST_CASE("envelope: arguments that are not UTF-8 are refused before anything is sent") {
  auto envelope = sample();
  envelope.args["to"] = "\xff\xfe";
  CHECK_THROWS_AS(to_wire(envelope), Error);
}

TEST_CASE("envelope: a producer's mistakes are named") {
  auto envelope = sample();
  CHECK(refusal(envelope) == "accepted");
  envelope.priority = 10;
  CHECK(refusal(envelope) == "priority 10 is out of range; it goes from 0 to 9, 9 first");
  envelope = sample();
  envelope.id = "a b";
  CHECK(refusal(envelope) == "bad job id 'a b'; an id is 1 to 128 printable characters without blanks");
  envelope = sample();
  envelope.queue = "../etc";
  CHECK(refusal(envelope).starts_with("bad queue name '../etc'"));
  envelope = sample();
  envelope.name = "";
  CHECK(refusal(envelope).starts_with("empty task name"));
  envelope = sample();
  envelope.max_retries = -1;
  CHECK(refusal(envelope) == "max retries must not be negative");
  envelope = sample();
  envelope.args = Json::array();
  CHECK(refusal(envelope).starts_with("arguments of task email.send must be a JSON object"));
}

TEST_CASE("result: what is written is read back, with and without a failure") {
  Result result{"1", TaskState::succeeded, {{"lines", 3}}, std::nullopt, 2, {{"queue", "default"}}};
  auto back = result_from_wire(to_wire(result));
  CHECK(back.state == TaskState::succeeded);
  CHECK(back.value == result.value);
  CHECK(back.attempt == 2);
  result.state = TaskState::retried;
  result.failure = Failure{"std::runtime_error", "no route", true};
  back = result_from_wire(to_wire(result));
  CHECK(back.failure == result.failure);
  CHECK(result_from_wire(R"({"id":"1","state":"paused"})").state == TaskState::queued);
  CHECK_THROWS_AS(result_from_wire("{}"), Error);
  CHECK_THROWS_AS(result_from_wire("nonsense"), Error);
}

TEST_CASE("result: a failure whose message is not UTF-8 is kept, with the bytes replaced") {
  const Result result{"1", TaskState::failed, nullptr, Failure{"e", "bad \xff byte", true},
                      0,   Json::object()};
  CHECK(result_from_wire(to_wire(result)).failure->message == "bad \xEF\xBF\xBD byte");
}

TEST_CASE("envelope: nesting that would take the stack is refused, on the way out and on the way in") {
  const auto nested = [](int levels) {
    return std::string(static_cast<std::size_t>(levels), '[') +
           std::string(static_cast<std::size_t>(levels), ']');
  };
  auto envelope = sample();
  envelope.args = {{"a", Json::parse(nested(500))}};
  CHECK(envelope_from_wire(to_wire(envelope)) == envelope);
  envelope.args = {{"a", Json::parse(nested(600))}};
  CHECK_THROWS_WITH(to_wire(envelope), "job email.send: arguments are nested deeper than 512 levels");
  CHECK(error_of(R"({"id":"1","name":"t","args":{"a":)" + nested(400000) + "}}") ==
        "malformed envelope: it is nested deeper than 512 levels");
  CHECK_THROWS_AS(to_wire(Result{"1", TaskState::succeeded, Json::parse(nested(600)), {}, 0, {}}), Error);
  // Brackets in strings are text.
  CHECK_NOTHROW(
      envelope_from_wire(R"({"id":"1","name":"t","args":{"a":"\"[)" + std::string(600, '[') + "\"}}"));
}
