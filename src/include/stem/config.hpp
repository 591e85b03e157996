#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stem/retry_policy.hpp>
#include <stem/time.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

using Environment = std::map<std::string, std::string>;

/// STEM_SIGNING_*: how jobs are signed, and what a signature must be. Keys are raw bytes, by their ids.
struct SigningConfig {
  std::string algorithm = "hmac-sha256";           ///< or ed25519
  std::map<std::string, std::string> keys;         ///< of HMAC: whoever verifies can also sign
  std::map<std::string, std::string> public_keys;  ///< of Ed25519, 32 bytes
  std::map<std::string, std::string>
      private_keys;        ///< of Ed25519, 32 bytes; none where jobs are only verified
  std::string active_key;  ///< the id of the key that signs

  /// Whether there are keys of the algorithm: jobs are signed, and unsigned ones are not run.
  bool on() const { return !(algorithm == "ed25519" ? public_keys : keys).empty(); }
  /// Throws Error (exit 78) if parts are missing or do not fit, so that jobs would go unsigned, or
  /// unverified, where signatures were wanted.
  void validate() const;

  friend bool operator==(const SigningConfig&, const SigningConfig&) = default;
};

/// STEM_TLS_*: whom a server must prove to be, and as whom we come to it.
struct TlsConfig {
  std::string ca_cert;          ///< path of the authorities that are trusted, PEM; empty = the system's
  std::string client_cert;      ///< path of our certificate and its chain, PEM; empty = we come without
  std::string client_key;       ///< path of its key, PEM
  bool allow_insecure = false;  ///< takes every server for the right one

  /// Throws Error (exit 78) if there is a certificate without a key, or the other way round.
  void validate() const;

  friend bool operator==(const TlsConfig&, const TlsConfig&) = default;
};

/// Where spans or metrics are posted, and how: OTEL_EXPORTER_OTLP_TRACES_* or OTEL_EXPORTER_OTLP_METRICS_*,
/// or OTEL_EXPORTER_OTLP_* where those are not set.
struct CollectorConfig {
  std::string url;                             ///< empty = nowhere
  std::map<std::string, std::string> headers;  ///< of each request; may be secret
  std::string certificate;  ///< path of the authorities that are trusted, PEM; empty = the system's
  std::string client_certificate, client_key;  ///< paths, PEM; empty = we come without
  bool gzip = false;
  Duration timeout = std::chrono::seconds{10};  ///< of one request

  friend bool operator==(const CollectorConfig&, const CollectorConfig&) = default;
};

/// OTEL_*, STEM_OTLP_ENDPOINT and STEM_METRIC_EXPORTERS: what is told to an OpenTelemetry collector, over
/// OTLP/HTTP with JSON. The rules are those of OpenTelemetry's specification, "Environment Variable
/// Specification" and "OpenTelemetry Protocol Exporter": docs/tracing.md says what each variable does, and
/// where Stem does less.
struct TelemetryConfig {
  CollectorConfig traces;   ///< of spans
  CollectorConfig metrics;  ///< of metrics

  std::string sampler = "parentbased_always_on";  ///< a value of OTEL_TRACES_SAMPLER
  double sampled_share = 1.0;                     ///< of traces, with the samplers of `traceidratio`
  std::size_t span_queue = 2048;                  ///< spans that wait; those beyond are dropped, and counted
  std::size_t span_batch = 512;                   ///< spans of one request
  Duration span_delay = std::chrono::seconds{5};  ///< how long spans gather for a batch
  Duration metric_interval = std::chrono::minutes{1};

  std::string service_name;                     ///< empty = the namespace
  std::map<std::string, std::string> resource;  ///< further attributes of whoever tells
  bool console = false;     ///< metrics go to standard output, too: STEM_METRIC_EXPORTERS=console
  bool prometheus = false;  ///< STEM_METRIC_EXPORTERS=prometheus

  /// What could not be used, and is treated as not set: one line each. Telemetry that is set up wrongly,
  /// maybe for another program, keeps no worker from its work.
  std::vector<std::string> warnings;

  /// Whether a collector is named.
  bool tells() const { return !traces.url.empty() || !metrics.url.empty(); }

  friend bool operator==(const TelemetryConfig&, const TelemetryConfig&) = default;
};

/// Everything that is set from outside, as values. Read once, then passed by const reference. The table of
/// variables (name, default, meaning) is settings() and stem.env(5).
struct Config {
  std::string broker_url;          ///< STEM_BROKER_URL; empty = the embedded default of this user
  std::string result_backend_url;  ///< STEM_RESULT_BACKEND_URL; empty = the broker's
  std::string
      revoke_store_url;  ///< STEM_REVOKE_STORE_URL: revocations and paused queues; empty = with the results
  std::string default_queue = "default";
  std::string routing_file;  ///< STEM_ROUTING_CONFIG: which jobs go where; empty = where they say
  int default_max_retries = 3;
  RetryPolicy retry;

  SigningConfig signing;      ///< STEM_SIGNING_*
  TlsConfig tls;              ///< STEM_TLS_*
  TelemetryConfig telemetry;  ///< OTEL_*

  std::string node;                               ///< STEM_WORKER_NODE; empty = `worker`
  std::string name_space = "stem";                ///< STEM_WORKER_NAMESPACE: whose orders are obeyed
  Duration heartbeat = std::chrono::seconds{10};  ///< STEM_HEARTBEAT_INTERVAL
  std::vector<std::string> queues;                ///< STEM_WORKER_QUEUES; empty = default_queue
  std::vector<std::string> broadcasts;            ///< STEM_WORKER_BROADCASTS: channels to listen on
  std::vector<std::string> apps;                  ///< STEM_WORKER_APP: task modules
  std::string command;                  ///< STEM_WORKER_COMMAND: a foreign program to look after instead
  std::string command_notify = "auto";  ///< STEM_COMMAND_NOTIFY: whether it speaks sd_notify: auto, yes or no
  std::string pool = "threads";         ///< STEM_WORKER_POOL: where handlers run: threads or processes
  int max_tasks_per_child = 0;          ///< of processes: one is replaced after so many jobs; 0 = never
  std::uint64_t max_memory_per_child = 0;            ///< bytes; or after a job that left it larger; 0 = never
  int concurrency = 0;                               ///< handlers at once; 0 = one a processor
  int prefetch_multiplier = 2;                       ///< jobs leased ahead for each handler
  Duration lease = std::chrono::seconds{30};         ///< renewed while a handler runs
  Duration soft_time_limit{};                        ///< 0 = none
  Duration hard_time_limit = std::chrono::hours{1};  ///< 0 = none
  Duration result_ttl = std::chrono::hours{24};
  int max_deliveries = 20;  ///< a job handed out so often without an end is dead; 0 = no bound
  Duration drain_limit = std::chrono::minutes{10};  ///< how long a warm stop may take at the most

  std::string pidfile;         ///< template; empty = none
  std::string logfile;         ///< template; empty = journal or standard error
  std::string runtime_dir;     ///< where control sockets live; empty = the default for this user
  std::string metrics_listen;  ///< STEM_METRICS_LISTEN: where the page of metrics is served; empty = nowhere
  std::string log_level = "info";  ///< debug, info, warning or error

  std::string schedule_store_url;  ///< STEM_SCHEDULE_STORE_URL; empty = where the jobs are
  std::string schedule_file;  ///< STEM_SCHEDULE_FILE: `stem schedule` works on this file instead of a store
  std::string catch_up =
      "last";  ///< STEM_SCHEDULER_CATCH_UP: slots that were missed: none, last or all of them run
  Duration misfire_grace = std::chrono::minutes{1};           ///< a slot that is later than this was missed
  Duration scheduler_lock_period = std::chrono::seconds{15};  ///< the lock of the scheduler that leads

  std::string supervisor = "auto";  ///< STEM_SUPERVISOR: systemd, start-stop-daemon or auto
  std::vector<std::string> nodes;   ///< STEMD_NODES: the nodes of `multi` where none are named

  /// Reads the variables it knows. Throws Error (exit 78): variable, value, what is accepted.
  static Config from(const Environment& environment);
  /// from() of this process's environment, with systemd's credentials over it: stem.env(5), "Secrets".
  static Config from_environment();
};

/// One row of the table of settings.
struct Setting {
  std::string_view name;
  std::string_view fallback;
  std::string_view meaning;
  bool secret = false;  ///< may hold a password: never shown, and may come as a credential of systemd

  /// The name of the credential: `stem.broker-url` for STEM_BROKER_URL. Empty if it is no secret.
  std::string credential() const;
  /// A value for people: without the password, or `***`, if it is a secret.
  std::string shown(std::string_view value) const;
  /// Whether shown() leaves anything out: an address without a password is no secret.
  bool hides(std::string_view value) const;
};
/// Every variable that Stem reads, in the order of the manual page.
std::vector<Setting> settings();

/// One line for each STEM_ or STEMD_ variable that nothing reads, with the nearest known name: likely a
/// typing error.
std::vector<std::string> unknown_settings(const Environment& environment);

}  // namespace stem
