#include "core/redaction.hpp"

#include <doctest/doctest.h>

#include <stem/config.hpp>

using namespace stem;

TEST_CASE("redaction: a password in an address is shown as ***, the rest stays") {
  CHECK(redacted_url("redis://app:hunter2@cache:6379/0") == "redis://app:***@cache:6379/0");
  CHECK(redacted_url("redis://:hunter2@cache/0") == "redis://:***@cache/0");
  CHECK(redacted_url("postgres://app:hunter2@a,b:5433/jobs?sslmode=require&password=hunter2") ==
        "postgres://app:***@a,b:5433/jobs?sslmode=require&password=***");
  CHECK(redacted_url("sqlite:///var/lib/stem/stem.db?synchronous=normal") ==
        "sqlite:///var/lib/stem/stem.db?synchronous=normal");
  CHECK(redacted_url("redis://cache:6379/0") == "redis://cache:6379/0");
  CHECK(redacted_url("redis://[::1]:6379") == "redis://[::1]:6379");
  CHECK(redacted_url("memory://jobs") == "memory://jobs");
  CHECK(redacted_url("") == "");
}

TEST_CASE("redaction: of parameters only those are hidden that are secret, or that nobody knows") {
  for (const char* one :
       {"timeout=2s", "connect_timeout=3", "busy_timeout=5s", "namespace=a", "schema=shop",
        "synchronous=normal", "sslmode=verify-full", "sslrootcert=/etc/ca.pem", "sslcert=/etc/c.pem",
        "sslkey=/etc/key.pem", "ssl_min_protocol_version=TLSv1.3", "target_session_attrs=read-write",
        "host=/run/postgresql", "port=6432", "options=-csynchronous_commit%3Doff", "keepalives_idle=60",
        "application_name=shop", "user=app"}) {
    CAPTURE(one);
    CHECK(redacted_url("postgresql://h/jobs?" + std::string(one)) ==
          "postgresql://h/jobs?" + std::string(one));
  }
  for (const std::string name :
       {"password", "sslpassword", "auth", "token", "key", "secret", "passwd", "TIMEOUT", ""}) {
    CAPTURE(name);
    CHECK(redacted_url("postgresql://h/jobs?" + name + "=hunter2") == "postgresql://h/jobs?" + name + "=***");
  }
  CHECK(redacted_url("redis://h/0?timeout=2s&password=hunter2&namespace=a") ==
        "redis://h/0?timeout=2s&password=***&namespace=a");
  CHECK(redacted("at redis://h/0?timeout=2s, 'postgresql:///j?sslpassword=hunter2&timeout=1s'") ==
        "at redis://h/0?timeout=2s, 'postgresql:///j?sslpassword=***&timeout=1s'");
}

TEST_CASE("redaction: a password that breaks the rules of addresses is hidden all the same") {
  for (const char* url :
       {"redis://app:hun/ter2@cache", "redis://app:hun?ter2@cache", "redis://app:hun@ter2@cache",
        "redis://app:hun ter2@cache", "redis://app:hun#ter2@cache", "redis://hunter2@cache",
        "redis://app:hunter2", "app:hunter2@cache", "hunter2", "redis://cache/0#hunter2",
        "redis://cache?hunter2", "redis://cache?auth=hunter2", "re dis://hunter2@cache"}) {
    CAPTURE(url);
    const auto shown = redacted_url(url);
    CHECK(shown.find("ter2") == std::string::npos);
    CHECK((shown.find("***") != std::string::npos || shown == "redis://cache/0"));
  }
  CHECK(redacted_url("redis://a\nb:x@h") == "redis://a?b:***@h");
}

TEST_CASE("redaction: every address in a text is found, and nothing else is touched") {
  CHECK(redacted("cannot reach 'redis://app:hunter2@cache:6379/0': refused") ==
        "cannot reach 'redis://app:***@cache:6379/0': refused");
  CHECK(redacted("from redis://a:x@h to postgres://b:y@h.") == "from redis://a:***@h to postgres://b:***@h.");
  CHECK(redacted("at redis://app:hun ter2@cache, again") == "at redis://app:***@cache, again");
  CHECK(redacted("see https://example.com/x and mail a@b.c") == "see https://example.com/x and mail a@b.c");
  CHECK(redacted("3/8 busy · default, mail") == "3/8 busy · default, mail");
  CHECK(redacted("://") == "***");
  CHECK(redacted("") == "");
}

TEST_CASE(
    "redaction: the table of settings says what is secret, and under which name it comes as a credential") {
  for (const auto& setting : settings()) {
    CAPTURE(setting.name);
    CHECK(setting.secret == !setting.credential().empty());
    CHECK(setting.shown("hunter2") == (setting.secret ? "***" : "hunter2"));
    if (setting.name == "STEM_BROKER_URL") CHECK(setting.credential() == "stem.broker-url");
    if (setting.name == "STEM_RESULT_BACKEND_URL") CHECK(setting.credential() == "stem.result-backend-url");
  }
  const Setting keys{"STEM_SIGNING_KEYS", "", "", true};  // one that is no address
  CHECK(keys.credential() == "stem.signing-keys");
  CHECK(keys.shown("v1:c2VjcmV0") == "***");
  CHECK(keys.shown("") == "");
}
