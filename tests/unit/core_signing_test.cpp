#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <stem/signing.hpp>
#include <thread>

#include "core/base64.hpp"
#include "core/signing_key.hpp"
#include "core/signing_key_list.hpp"
#include "core/signing_text.hpp"
#include "error_of.hpp"

using namespace stem;

namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string to_hex(const std::string& bytes) {
  std::string hex;
  for (const unsigned char c : bytes) ((hex += "0123456789abcdef"[c >> 4]) += "0123456789abcdef"[c & 15]);
  return hex;
}

/// The job of the vector in docs/signing.md.
Envelope example() {
  Envelope job;
  job.id = "0190f7c2-9f00-7000-8000-000000000001";
  job.name = "email.send";
  job.args = {{"to", "a@b.c"},
              {"n", 1},
              {"ratio", 1.0},
              {"tags", {"x", "é"}},
              {"nested", {{"b", nullptr}, {"a", true}}}};
  job.headers = {{"stem-args-encoder", "json"}};
  job.enqueued_at = parse_time("2025-01-02T03:04:05.678901Z");
  job.priority = 3;
  job.max_retries = 5;
  job.meta = {{"stem.task", "email.send"}, {"__stemArgsEncoder", "json"}};
  return job;
}

const std::string seed = from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
const std::string half = *from_base64("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");

SigningConfig hmac(std::map<std::string, std::string> keys, const std::string& active) {
  SigningConfig config;
  config.keys = std::move(keys);
  config.active_key = active;
  return config;
}

SigningConfig ed25519(std::map<std::string, std::string> all_public,
                      std::map<std::string, std::string> all_private, const std::string& active) {
  SigningConfig config;
  config.algorithm = "ed25519";
  config.public_keys = std::move(all_public);
  config.private_keys = std::move(all_private);
  config.active_key = active;
  return config;
}

std::string canonical_args(const Json& args) {
  Envelope job = example();
  job.args = args;
  const auto text = signing_text(job);
  const std::string end = R"(,"attempt":0)";
  return text.substr(8, text.find(end) - 8);
}

/// A number as the only argument.
std::string number(const Json& value) {
  const auto text = canonical_args({{"n", value}});
  return text.substr(5, text.size() - 6);
}

}  // namespace

TEST_CASE("signing: HMAC-SHA256 gives the vectors of RFC 4231") {
  const struct {
    std::string key, data, mac;
  } vectors[] = {
      {std::string(20, '\x0b'), "Hi There",
       "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {"Jefe", "what do ya want for nothing?",
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {std::string(20, '\xaa'), std::string(50, '\xdd'),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {from_hex("0102030405060708090a0b0c0d0e0f10111213141516171819"), std::string(50, '\xcd'),
       "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      // Case 5 is of a truncated code, which we do not take.
      {std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {std::string(131, '\xaa'),
       "This is a test using a larger than block-size key and a larger than block-size data. The key needs "
       "to be hashed "
       "before being used by the HMAC algorithm.",
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const auto& vector : vectors) {
    const auto key = hmac_sha256_key(vector.key);
    CHECK(to_hex(key->sign(vector.data)) == vector.mac);
    CHECK(key->verify(vector.data, from_hex(vector.mac)));
    CHECK_FALSE(key->verify(vector.data, from_hex(vector.mac).substr(0, 16)));  // truncated: case 5
    CHECK_FALSE(key->verify(vector.data + " ", from_hex(vector.mac)));
  }
}

TEST_CASE("signing: Ed25519 gives the vectors of RFC 8032") {
  const struct {
    std::string secret, open, message, signature;
  } vectors[] = {
      {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf"
       "5f0595bbe24655141438e"
       "7a100b"},
      {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
       "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2"
       "eaeb4302aeeb00d291612"
       "bb0c00"},
      {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
       "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
       "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c1"
       "5e9716ed28dc027beceea"
       "1ec40a"},
      {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
       "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
       "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4"
       "423643ce80e2a9ac94fa5"
       "4ca49f",
       "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca1"
       "79c138ac17ad9bef11773"
       "31a704"},
  };
  for (const auto& vector : vectors) {
    const auto message = from_hex(vector.message), signature = from_hex(vector.signature);
    const auto secret = ed25519_private_key(from_hex(vector.secret));
    const auto open = ed25519_public_key(from_hex(vector.open));
    CHECK(to_hex(ed25519_public_of(from_hex(vector.secret))) == vector.open);
    CHECK(to_hex(secret->sign(message)) == vector.signature);
    CHECK(open->verify(message, signature));
    CHECK(secret->verify(message, signature));
    CHECK_FALSE(open->verify(message + "x", signature));
    auto bent = signature;
    bent[40] ^= 1;
    CHECK_FALSE(open->verify(message, bent));
    CHECK_FALSE(open->verify(message, ""));
    CHECK(error_of([&] { open->sign(message); }).status == 78);
  }
  CHECK(error_of([] { ed25519_public_key("short"); }).says("not 5"));
}

TEST_CASE("signing: the canonical text and both signatures are those of other implementations") {
  const auto text = signing_text(example());
  CHECK(text.size() == 397);
  CHECK(
      text ==
      R"({"args":{"n":1,"nested":{"a":true,"b":null},"ratio":1.0,"tags":["x","é"],"to":"a@b.c"},"attempt":0,)"
      R"("enqueuedAt":"2025-01-02T03:04:05.678901Z","headers":{"stem-args-encoder":"json"},)"
      R"("id":"0190f7c2-9f00-7000-8000-000000000001","maxRetries":5,"meta":{"__stemArgsEncoder":"json","stem.task":)"
      R"("email.send"},"name":"email.send","notBefore":null,"priority":3,"queue":"default","visibilityTimeoutMs":null})");

  auto job = example();
  PayloadSigner::maybe(hmac({{"v1", "super-secret"}}, "v1"))->sign(job);
  CHECK(job.headers.at("stem-signature") == "6dc5QbAKaj9ey9LLuYTMH079/60u4qKXIobSKrU8+aI=");
  CHECK(job.headers.at("stem-signature-key") == "v1");
  CHECK(signing_text(job) == text);  // the two headers are left out

  PayloadSigner::maybe(ed25519({{"v1", half}}, {{"v1", seed}}, "v1"))->sign(job);
  CHECK(job.headers.at("stem-signature") ==
        "bGuaddStVHDDS0IMt5jVFTuDjXshskJlIQEOXjTXJa+gpAUNYqFpgz0s0wKyGk8bueS8mfM8hUjkMGLc4nL4AA==");
}

TEST_CASE("signing: numbers have one text each") {
  CHECK(number(0) == "0");
  CHECK(number(-1) == "-1");
  CHECK(number(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
  CHECK(number(std::uint64_t{9223372036854775807}) == "9223372036854775807");
  CHECK(number(1.0) == "1.0");
  CHECK(number(-0.0) == "-0.0");
  CHECK(number(0.1) == "0.1");
  CHECK(number(-12.5) == "-12.5");
  CHECK(number(100.0) == "100.0");
  CHECK(number(123456789.125) == "123456789.125");
  CHECK(number(0.000001) == "0.000001");
  CHECK(number(0.0000001) == "1e-7");
  CHECK(number(1.5e-10) == "1.5e-10");
  CHECK(number(1e20) == "100000000000000000000.0");
  CHECK(number(100000000000000016384.0) == "100000000000000020000.0");
  CHECK(number(1e21) == "1e+21");
  CHECK(number(-1.25e22) == "-1.25e+22");
  CHECK(number(5e-324) == "5e-324");
  CHECK(number(1.7976931348623157e308) == "1.7976931348623157e+308");
  CHECK(number(9007199254740993.0) == "9007199254740992.0");
  CHECK(error_of([] {
          number(std::uint64_t{9223372036854775808U});
        }).says("9223372036854775808 is beyond 64 bits"));
  CHECK(error_of([] { number(std::numeric_limits<double>::infinity()); }).says("not finite"));
  CHECK(error_of([] { number(Json::binary({1})); }).status == 65);
}

TEST_CASE("signing: text is escaped only where JSON asks for it") {
  CHECK(canonical_args({{"t", "\"\\/\b\t\n\f\r\x01\x1f\x7f é \xF0\x9F\x98\x80"}}) ==
        "{\"t\":\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0001\\u001f\x7f é \xF0\x9F\x98\x80\"}");
  CHECK(canonical_args(Json::object()) == "{}");
  CHECK(canonical_args({{"a", Json::array()}, {"b", Json::object()}}) == R"({"a":[],"b":{}})");
}

TEST_CASE("signing: keys are in the order of UTF-16") {
  // U+1F600 is D83D DE00 in UTF-16: before U+E000 and U+FFFD, after U+D7FF.
  CHECK(canonical_args({{"\xF0\x9F\x98\x80", 1},
                        {"\xEE\x80\x80", 2},
                        {"\xEF\xBF\xBD", 3},
                        {"\xED\x9F\xBF", 4},
                        {"a", 5},
                        {"ab", 6}}) ==
        "{\"a\":5,\"ab\":6,\"\xED\x9F\xBF\":4,\"\xF0\x9F\x98\x80\":1,\"\xEE\x80\x80\":2,\"\xEF\xBF\xBD\":3}");
  auto job = example();
  job.headers = {{"\xF0\x9F\x98\x80", "1"}, {"\xEE\x80\x80", "2"}};
  CHECK(signing_text(job).find("\"headers\":{\"\xF0\x9F\x98\x80\":\"1\",\"\xEE\x80\x80\":\"2\"}") !=
        std::string::npos);
}

TEST_CASE("signing: arguments that nest too deep are refused before they are written") {
  Json deep = 1;
  for (int i = 0; i < 600; ++i) deep = Json::array({std::move(deep)});
  CHECK(error_of([&] { canonical_args({{"d", deep}}); }).says("nested deeper"));
}

TEST_CASE("signing: a change of any field is found, by both algorithms") {
  for (const auto& config :
       {hmac({{"v1", "super-secret"}}, "v1"), ed25519({{"v1", half}}, {{"v1", seed}}, "v1")}) {
    const auto signer = PayloadSigner::maybe(config);
    REQUIRE(signer);
    CHECK(signer->can_sign());
    auto job = example();
    job.not_before = job.enqueued_at;
    job.visibility_timeout = std::chrono::seconds{1};
    signer->sign(job);
    CHECK_FALSE(signer->verify(job));
    CHECK_FALSE(signer->verify(envelope_from_wire(to_wire(job))));

    const std::function<void(Envelope&)> changes[] = {
        [](Envelope& j) { j.id += "x"; },
        [](Envelope& j) { j.name = "email.drop"; },
        [](Envelope& j) { j.args["n"] = 2; },
        [](Envelope& j) { j.args["n"] = 1.0; },
        [](Envelope& j) { j.args["more"] = nullptr; },
        [](Envelope& j) { j.headers["tenant"] = "acme"; },
        [](Envelope& j) { j.headers.erase("stem-args-encoder"); },
        [](Envelope& j) { j.enqueued_at += std::chrono::microseconds{1}; },
        [](Envelope& j) { j.not_before.reset(); },
        [](Envelope& j) { j.priority = 9; },
        [](Envelope& j) { j.attempt = 1; },
        [](Envelope& j) { j.max_retries = 6; },
        [](Envelope& j) { *j.visibility_timeout *= 2; },
        [](Envelope& j) { j.visibility_timeout.reset(); },
        [](Envelope& j) { j.queue = "root"; },
        [](Envelope& j) {
          j.meta["stem.retryPolicy"] = {{"maxRetries", 9}};
        },
        [](Envelope& j) { j.headers["stem-signature"][3] ^= 1; },
    };
    for (const auto& change : changes) {
      auto changed = job;
      change(changed);
      const auto fault = signer->verify(changed);
      REQUIRE(fault);
      CHECK(fault->reason.find("changed after it was signed") != std::string::npos);
      CHECK(fault->key == "v1");
    }
  }
}

TEST_CASE("signing: what is wrong with a signature is said, without more than is known") {
  const auto signer = PayloadSigner::maybe(hmac({{"v1", "super-secret"}, {"v2", "other"}}, "v1"));
  auto job = example();
  CHECK(signer->verify(job)->reason == "it is not signed");
  signer->sign(job);
  const auto with = [&](const std::string& header, const std::string& value) {
    auto changed = job;
    value.empty() ? void(changed.headers.erase(header)) : void(changed.headers[header] = value);
    return *signer->verify(changed);
  };
  CHECK(with("stem-signature", "").reason == "it is not signed");
  CHECK(with("stem-signature-key", "").reason == "it does not say with which key it is signed");
  CHECK(with("stem-signature-key", "v9\n").reason ==
        "it is signed with the key 'v9\\x0a', which STEM_SIGNING_KEYS does not have");
  CHECK(with("stem-signature-key", "v2").reason ==
        "it was changed after it was signed, or signed with another key of the id 'v2'");
  CHECK(with("stem-signature", "!!!!").reason == "its signature is not base64");
  CHECK(with("stem-signature", "AAAA").key == "v1");
  auto unsignable = job;
  unsignable.args["n"] = std::uint64_t{1} << 63;
  CHECK(signer->verify(unsignable)->reason.find("beyond 64 bits") != std::string::npos);
}

TEST_CASE("signing: a verifier takes the jobs of every key it knows, and signs with the active one") {
  const auto before = PayloadSigner::maybe(hmac({{"v1", "old"}}, "v1"));
  const auto during = PayloadSigner::maybe(hmac({{"v1", "old"}, {"v2", "new"}}, "v2"));
  const auto after = PayloadSigner::maybe(hmac({{"v2", "new"}}, "v2"));
  auto old_job = example(), new_job = example();
  before->sign(old_job);
  during->sign(new_job);
  CHECK(new_job.headers.at("stem-signature-key") == "v2");
  CHECK_FALSE(during->verify(old_job));
  CHECK_FALSE(during->verify(new_job));
  CHECK_FALSE(after->verify(new_job));
  CHECK(before->verify(new_job));
  CHECK(after->verify(old_job));
}

TEST_CASE("signing: a signer that can only verify refuses to sign, and says what is missing") {
  const auto lacks = [](const SigningConfig& config, const std::string& what) {
    const auto signer = PayloadSigner::maybe(config);
    REQUIRE(signer);
    CHECK_FALSE(signer->can_sign());
    auto job = example();
    const auto failed = error_of([&] { signer->sign(job); });
    CHECK(failed.status == 78);
    CHECK(failed.is_one_line());
    CHECK(failed.says(what));
    CHECK(job == example());
    // It verifies.
    auto right = example();
    PayloadSigner::maybe(ed25519({{"v1", half}}, {{"v1", seed}}, "v1"))->sign(right);
    CHECK_FALSE(signer->verify(right));
  };
  lacks(ed25519({{"v1", half}}, {}, ""), "STEM_SIGNING_PRIVATE_KEYS is not set");
  lacks(ed25519({{"v1", half}}, {}, "v1"), "STEM_SIGNING_PRIVATE_KEYS is not set");
  lacks(ed25519({{"v1", half}}, {{"v1", seed}}, ""), "STEM_SIGNING_ACTIVE_KEY is not set");
  lacks(ed25519({{"v1", half}}, {{"v2", half}}, "v2"), "STEM_SIGNING_PUBLIC_KEYS lacks the active key v2");
}

TEST_CASE("signing: halves of different keys are found before anything is signed with them") {
  const auto failed = error_of([] { PayloadSigner::maybe(ed25519({{"v1", seed}}, {{"v1", seed}}, "v1")); });
  CHECK(failed.status == 78);
  CHECK(failed.says("halves of different keys"));
}

TEST_CASE("signing: one signer serves many threads") {
  for (const auto& config :
       {hmac({{"v1", "super-secret"}}, "v1"), ed25519({{"v1", half}}, {{"v1", seed}}, "v1")}) {
    const auto signer = PayloadSigner::maybe(config);
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          auto job = example();
          job.args["n"] = t * 1000 + i;
          signer->sign(job);
          if (!signer->verify(job)) ++right;
        }
      });
    for (auto& thread : threads) thread.join();
    CHECK(right == 200);
  }
}

TEST_CASE("signing: no keys, no signer; keys that were lost are an error, and never turn signing off") {
  CHECK_FALSE(PayloadSigner::maybe(Config{}));
  CHECK_FALSE(PayloadSigner::maybe(Config::from({{"STEM_SIGNING_ALGORITHM", "hmac-sha256"}})));
  const auto refusal = [](const Environment& environment) {
    const auto failed = error_of([&] { Config::from(environment); });
    CHECK(failed.status == 78);
    CHECK(failed.is_one_line());
    return failed.message;
  };
  CHECK(refusal({{"STEM_SIGNING_ACTIVE_KEY", "v1"}})
            .find("STEM_SIGNING_ACTIVE_KEY is set, but STEM_SIGNING_KEYS") != std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_ALGORITHM", "ed25519"}})
            .find("STEM_SIGNING_ALGORITHM is set, but STEM_SIGNING_PUBLIC_KEYS") != std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_PUBLIC_KEYS", "v1:" + to_base64(half)}}).find("takes, is not") !=
        std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_PRIVATE_KEYS", "v1:" + to_base64(seed)}})
            .find("STEM_SIGNING_PRIVATE_KEYS is set") != std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_ALGORITHM", "ed25519"}, {"STEM_SIGNING_KEYS", "v1:AAAA"}})
            .find("STEM_SIGNING_KEYS is set, but") != std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_KEYS", "v1:AAAA"}}).find("STEM_SIGNING_ACTIVE_KEY is not") !=
        std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_KEYS", "v1:AAAA"}, {"STEM_SIGNING_ACTIVE_KEY", "v2"}})
            .find("no key of that id is in STEM_SIGNING_KEYS") != std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_ALGORITHM", "ed25519"},
                 {"STEM_SIGNING_PUBLIC_KEYS", "v1:" + to_base64(half)},
                 {"STEM_SIGNING_PRIVATE_KEYS", "v1:" + to_base64(seed)},
                 {"STEM_SIGNING_ACTIVE_KEY", "v2"}})
            .find("no key of that id is in STEM_SIGNING_PRIVATE_KEYS") != std::string::npos);
  CHECK(refusal({{"STEM_SIGNING_ALGORITHM", "rot13"}}) ==
        "STEM_SIGNING_ALGORITHM='rot13': must be one of hmac-sha256, ed25519");
}

TEST_CASE("signing: the variables arrive, whatever their case and blanks") {
  const auto config =
      Config::from({{"STEM_SIGNING_ALGORITHM", " ED25519 "},
                    {"STEM_SIGNING_PUBLIC_KEYS",
                     ", v1:A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=,\n v2:" + to_base64(seed) + ","},
                    {"STEM_SIGNING_PRIVATE_KEYS", "v1:" + to_base64(seed) + "\n"},
                    {"STEM_SIGNING_ACTIVE_KEY", " v1 "}});
  CHECK(config.signing.algorithm == "ed25519");
  CHECK(config.signing.public_keys == std::map<std::string, std::string>{{"v1", half}, {"v2", seed}});
  CHECK(config.signing.private_keys == std::map<std::string, std::string>{{"v1", seed}});
  CHECK(config.signing.active_key == "v1");
}

TEST_CASE("signing: a list of keys that is wrong is refused without a byte of it") {
  const auto refusal = [](const std::string& list, std::size_t bytes = 0) {
    const auto failed = error_of([&] { signing_keys_from(list, bytes); });
    CHECK(failed.status == 78);
    CHECK_FALSE(failed.says("c2Vjc"));
    return failed.message.substr(std::min(failed.message.size(), failed.message.find("entry")));
  };
  CHECK(refusal("c2VjcmV0") == "entry 1 has no colon");
  CHECK(refusal("v1:AAAA,v2:c2VjcmV0:x") == "entry 2 has two colons");
  CHECK(refusal(":c2VjcmV0").starts_with("entry 1 has an id that is no name"));
  CHECK(refusal("v1:c2VjcmV") == "entry 1 has a key that is not base64 with its padding");
  CHECK(refusal("v1:") == "entry 1 has an empty key");
  CHECK(refusal("v1:c2VjcmV0", 32) == "entry 1 has a key of 6 bytes, where 32 are needed");
  CHECK(refusal("v1:AAAA,v1:c2VjcmV0") == "entry 2 has the id of an earlier one, and another key");
  CHECK(refusal(" , ") == "entry 1 is missing");
  CHECK(signing_keys_from("v1:AAAA,v1:AAAA", 0).size() == 1);
  const auto failed = error_of([] {
    Config::from({{"STEM_SIGNING_KEYS", "c2VjcmV0"}, {"STEM_SIGNING_ACTIVE_KEY", "v1"}});
  });
  CHECK(failed.message ==
        "STEM_SIGNING_KEYS: must be a list of ID:BASE64, separated by commas; entry 1 has no colon");
}

TEST_CASE("signing: base64 is that of RFC 4648") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(to_base64(bytes) == text);
    CHECK(from_base64(text) == bytes);
  }
  CHECK(from_base64("-_-_") == from_base64("+/+/"));
  for (const auto* wrong : {"Zg", "Zg=", "Zg===", "====", "Z===", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "=Zg="})
    CHECK_FALSE(from_base64(wrong));
}
