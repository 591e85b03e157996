#include "core/setting_rows.hpp"

#include <stem/error.hpp>

#include "core/listen_address.hpp"
#include "core/memory_size.hpp"
#include "core/setting_value.hpp"
#include "core/signing_key_list.hpp"

namespace stem {
namespace {

using namespace setting_value;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr SettingRow rows[] = {
    {{"STEM_BROKER_URL", "embedded SQLite",
      "Where jobs are kept: sqlite:///PATH, redis://HOST, rediss://HOST, redis+socket:///PATH, "
      "postgresql://HOST/DATABASE or memory://NAME."},
     [](Config& c, const std::string& v) { c.broker_url = v; }},
    {{"STEM_RESULT_BACKEND_URL", "the broker's", "Where results are kept."},
     [](Config& c, const std::string& v) { c.result_backend_url = v; }},
    {{"STEM_RESULT_TTL", "1d", "How long results are kept; 0 = for good."},
     [](Config& c, const std::string& v) { c.result_ttl = length(v, {}); }},
    {{"STEM_REVOKE_STORE_URL", "the result backend's",
      "Where revoked jobs and paused queues are remembered."},
     [](Config& c, const std::string& v) { c.revoke_store_url = v; }},
    {{"STEM_DEFAULT_QUEUE", "default", "Queue of jobs that name none, and of workers that name none."},
     [](Config& c, const std::string& v) { c.default_queue = name(v); }},
    {{"STEM_ROUTING_CONFIG", "",
      "A routing file: which tasks go into which queues, and with which priorities."},
     [](Config& c, const std::string& v) { c.routing_file = v; }},
    {{"STEM_DEFAULT_MAX_RETRIES", "3",
      "Retries of a job beyond its first run, where neither job nor task say."},
     [](Config& c, const std::string& v) { c.default_max_retries = whole(v, 0, 1000000); }},
    {{"STEM_RETRY_BASE", "2s", "Delay before the first retry."},
     [](Config& c, const std::string& v) { c.retry.base = length(v, {}); }},
    {{"STEM_RETRY_CAP", "5m", "Longest delay before a retry."},
     [](Config& c, const std::string& v) { c.retry.cap = length(v, {}); }},
    {{"STEM_RETRY_FACTOR", "2", "Growth of the delay with each retry; 1 = none."},
     [](Config& c, const std::string& v) { c.retry.factor = real(v, 1, 100, "a number from 1 to 100"); }},
    {{"STEM_RETRY_JITTER", "0.25", "Share of each delay that is left to chance, 0 to 1."},
     [](Config& c, const std::string& v) { c.retry.jitter = real(v, 0, 1, "a number from 0 to 1"); }},
    {{"STEM_VISIBILITY_TIMEOUT", "30s", "Length of a lease; renewed while a handler runs."},
     [](Config& c, const std::string& v) { c.lease = length(v, milliseconds{500}); }},
    {{"STEM_MAX_DELIVERIES", "20",
      "A job handed out so often without an end is dead-lettered; 0 = no bound."},
     [](Config& c, const std::string& v) { c.max_deliveries = whole(v, 0, 1000000); }},
    {{"STEM_TASK_SOFT_TIME_LIMIT", "0", "After this a handler is asked to stop; 0 = never."},
     [](Config& c, const std::string& v) { c.soft_time_limit = length(v, {}); }},
    {{"STEM_TASK_TIME_LIMIT", "1h",
      "After this an attempt has failed, and its handler counts as stuck; 0 = never."},
     [](Config& c, const std::string& v) { c.hard_time_limit = length(v, {}); }},
    {{"STEM_WORKER_NODE", "worker", "Name of the node."},
     [](Config& c, const std::string& v) { c.node = name(v); }},
    {{"STEM_WORKER_NAMESPACE", "stem",
      "Name of the group of workers that `stem worker ping`, `revoke` and so on speak to."},
     [](Config& c, const std::string& v) { c.name_space = name(v); }},
    {{"STEM_HEARTBEAT_INTERVAL", "10s",
      "How often a worker tells that it lives, in a record that lasts three times as long."},
     [](Config& c, const std::string& v) { c.heartbeat = length(v, seconds{1}); }},
    {{"STEM_WORKER_QUEUES", "the default queue", "Queues that the worker serves, separated by commas."},
     [](Config& c, const std::string& v) { c.queues = names(v, ", \t"); }},
    {{"STEM_WORKER_BROADCASTS", "",
      "Broadcast channels of the routing file that the worker listens on, separated by commas."},
     [](Config& c, const std::string& v) { c.broadcasts = names(v, ", \t"); }},
    {{"STEM_WORKER_APP", "", "Task modules (shared objects) to load, separated by colons."},
     [](Config& c, const std::string& v) { c.apps = split(v, ":"); }},
    {{"STEM_WORKER_CONCURRENCY", "one a processor", "Handlers that run at the same time."},
     [](Config& c, const std::string& v) { c.concurrency = whole(v, 1, 1024); }},
    {{"STEM_WORKER_POOL", "threads",
      "Where handlers run: threads of the worker, or processes, which may crash."},
     [](Config& c, const std::string& v) {
       c.pool = one_of(v, {"threads", "processes"});
     }},
    {{"STEM_WORKER_MAX_TASKS_PER_CHILD", "0",
      "A process of the pool is replaced after so many jobs; 0 = never."},
     [](Config& c, const std::string& v) { c.max_tasks_per_child = whole(v, 0, 1000000000); }},
    {{"STEM_WORKER_MAX_MEMORY_PER_CHILD", "0",
      "A process of the pool that a job left larger is replaced: KiB, or a number with K, M or G; 0 = "
      "never."},
     [](Config& c, const std::string& v) {
       try {
         c.max_memory_per_child = parse_memory_size(v);
       } catch (const Error&) {
         refuse("a number of KiB, or one with K, M or G behind it");
       }
     }},
    {{"STEM_PREFETCH_MULTIPLIER", "2", "Jobs leased ahead for each handler."},
     [](Config& c, const std::string& v) { c.prefetch_multiplier = whole(v, 1, 1000); }},
    {{"STEM_DRAIN_LIMIT", "10m", "How long a warm stop may take at the most; then what runs is put back."},
     [](Config& c, const std::string& v) { c.drain_limit = length(v, {}); }},
    {{"STEM_WORKER_COMMAND", "",
      "A program of any language to run and look after, in place of Stem's own worker."},
     [](Config& c, const std::string& v) { c.command = v; }},
    {{"STEMD_COMMAND", "", "As STEM_WORKER_COMMAND, which wins."},
     [](Config& c, const std::string& v) { c.command = c.command.empty() ? v : c.command; }},
    {{"STEM_COMMAND_NOTIFY", "auto", "Whether that program speaks sd_notify itself: auto, yes or no."},
     [](Config& c, const std::string& v) {
       c.command_notify = one_of(v, {"auto", "yes", "no"});
     }},
    {{"STEM_WORKER_PIDFILE", "",
      "Pidfile, a template: %n node, %h host, %d time of the start, %% a percent sign."},
     [](Config& c, const std::string& v) { c.pidfile = v; }},
    {{"STEM_WORKER_LOGFILE", "journal or standard error", "Log file, a template as for the pidfile."},
     [](Config& c, const std::string& v) { c.logfile = v; }},
    {{"STEM_RUNTIME_DIR", "/run/stem or $XDG_RUNTIME_DIR/stem", "Where the workers' control sockets are."},
     [](Config& c, const std::string& v) { c.runtime_dir = v; }},
    {{"STEM_METRICS_LISTEN", "",
      "Where a worker or a scheduler serves metrics for Prometheus: a port of 127.0.0.1, ADDRESS:PORT, or "
      "unix:/PATH, a template as for the pidfile."},
     [](Config& c, const std::string& v) {
       try {
         ListenAddress::from(trimmed(v));
       } catch (const Error&) {
         refuse(ListenAddress::accepted);
       }
       c.metrics_listen = trimmed(v);
     }},
    {{"STEM_LOG_LEVEL", "info", "debug, info, warning or error."},
     [](Config& c, const std::string& v) {
       c.log_level = one_of(v, {"debug", "info", "warning", "error"});
     }},
    {{"STEM_SIGNING_ALGORITHM", "hmac-sha256", "How jobs are signed: hmac-sha256 or ed25519."},
     [](Config& c, const std::string& v) {
       c.signing.algorithm = one_of(lower(trimmed(v)), {"hmac-sha256", "ed25519"});
     }},
    {{"STEM_SIGNING_KEYS", "",
      "Keys of hmac-sha256, ID:BASE64 separated by commas; with it, unsigned jobs are not run.", true},
     [](Config& c, const std::string& v) { c.signing.keys = signing_keys_from(v, 0); }},
    {{"STEM_SIGNING_ACTIVE_KEY", "",
      "The id of the key that jobs are signed with; jobs signed with the others run, too."},
     [](Config& c, const std::string& v) { c.signing.active_key = trimmed(v); }},
    {{"STEM_SIGNING_PUBLIC_KEYS", "",
      "Public keys of ed25519, ID:BASE64; with it, unsigned jobs are not run.", true},
     [](Config& c, const std::string& v) { c.signing.public_keys = signing_keys_from(v, 32); }},
    {{"STEM_SIGNING_PRIVATE_KEYS", "",
      "Private keys of ed25519, ID:BASE64; without it jobs are only verified.", true},
     [](Config& c, const std::string& v) { c.signing.private_keys = signing_keys_from(v, 32); }},
    {{"STEM_TLS_CA_CERT", "the system's authorities",
      "PEM file of the authorities that a server's certificate must come from."},
     [](Config& c, const std::string& v) { c.tls.ca_cert = v; }},
    {{"STEM_TLS_CLIENT_CERT", "", "PEM file of the certificate that is shown to servers, with its chain."},
     [](Config& c, const std::string& v) { c.tls.client_cert = v; }},
    {{"STEM_TLS_CLIENT_KEY", "", "PEM file of its key."},
     [](Config& c, const std::string& v) { c.tls.client_key = v; }},
    {{"STEM_TLS_ALLOW_INSECURE", "false",
      "true, 1 or yes: any server is taken for the right one; for debugging only."},
     [](Config& c, const std::string& v) {
       // Nothing but these turns it on; and nobody shall wonder whether a word of theirs did.
       const auto word = one_of(v, {"true", "1", "yes", "false", "0", "no"});
       c.tls.allow_insecure = word == "true" || word == "1" || word == "yes";
     }},
    {{"STEM_METRIC_EXPORTERS", "",
      "Where metrics go besides: a list of otlp, otlp:URL, prometheus and console."},
     nullptr},
    {{"STEM_OTLP_ENDPOINT", "",
      "Address of an OpenTelemetry collector, http://HOST:4318; as OTEL_EXPORTER_OTLP_ENDPOINT, over which "
      "it wins."},
     nullptr},
    // Read by telemetry_config(), which does not take one at a time.
    {{"OTEL_SDK_DISABLED", "false", "true: nothing is told to a collector."}, nullptr},
    {{"OTEL_EXPORTER_OTLP_ENDPOINT", "",
      "Address of an OpenTelemetry collector; /v1/traces and /v1/metrics are appended."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "Address for spans, as it is."}, nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "", "Address for metrics, as it is."}, nullptr},
    {{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json",
      "Stem speaks http/json; another value is told of, and ignored."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_HEADERS", "",
      "Headers of each request, NAME=VALUE separated by commas, percent-encoded.", true},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "How long a request may take, in milliseconds; 0 = a minute."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_COMPRESSION", "none", "gzip or none."}, nullptr},
    {{"OTEL_EXPORTER_OTLP_CERTIFICATE", "the system's authorities",
      "PEM file of the authorities that the collector's certificate must come from."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "",
      "PEM file of the certificate that is shown to the collector."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "", "PEM file of its key."}, nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL",
      "As OTEL_EXPORTER_OTLP_PROTOCOL, for spans."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS",
      "Headers of requests with spans, in place of OTEL_EXPORTER_OTLP_HEADERS.", true},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT",
      "How long a request with spans may take, in milliseconds."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip or none, for spans."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE",
      "PEM file of the authorities of the collector of spans."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
      "PEM file of the certificate that is shown to the collector of spans."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY", "PEM file of its key."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL",
      "As OTEL_EXPORTER_OTLP_PROTOCOL, for metrics."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS",
      "Headers of requests with metrics, in place of OTEL_EXPORTER_OTLP_HEADERS.", true},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT",
      "How long a request with metrics may take, in milliseconds."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION",
      "gzip or none, for metrics."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE",
      "PEM file of the authorities of the collector of metrics."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
      "PEM file of the certificate that is shown to the collector of metrics."},
     nullptr},
    {{"OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY", "PEM file of its key."},
     nullptr},
    {{"OTEL_TRACES_EXPORTER", "otlp if there is an address", "otlp or none."}, nullptr},
    {{"OTEL_METRICS_EXPORTER", "otlp if there is an address",
      "otlp or none; STEM_METRIC_EXPORTERS wins over it."},
     nullptr},
    {{"OTEL_TRACES_SAMPLER", "parentbased_always_on",
      "Which traces are told of: always_on, always_off, traceidratio, or one of them after parentbased_."},
     nullptr},
    {{"OTEL_TRACES_SAMPLER_ARG", "1.0", "Share of the traces that traceidratio takes, 0 to 1."}, nullptr},
    {{"OTEL_SERVICE_NAME", "the namespace", "Name of the service in what the collector gets."}, nullptr},
    {{"OTEL_RESOURCE_ATTRIBUTES", "", "Further attributes, NAME=VALUE separated by commas, percent-encoded."},
     nullptr},
    {{"OTEL_BSP_MAX_QUEUE_SIZE", "2048",
      "Spans that wait to be sent; those beyond are dropped, and counted."},
     nullptr},
    {{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "Spans of one request."}, nullptr},
    {{"OTEL_BSP_SCHEDULE_DELAY", "5000", "How long spans gather before they are sent, in milliseconds."},
     nullptr},
    {{"OTEL_METRIC_EXPORT_INTERVAL", "60000", "How often metrics are sent, in milliseconds."}, nullptr},
    {{"STEM_SCHEDULE_STORE_URL", "the broker's", "Where schedules are kept."},
     [](Config& c, const std::string& v) { c.schedule_store_url = v; }},
    {{"STEM_SCHEDULE_FILE", "",
      "A file that `stem schedule` works on instead of a store; no scheduler reads it."},
     [](Config& c, const std::string& v) { c.schedule_file = v; }},
    {{"STEM_SCHEDULER_CATCH_UP", "last", "Which runs that were missed are made up for: none, last or all."},
     [](Config& c, const std::string& v) {
       c.catch_up = one_of(v, {"none", "last", "all"});
     }},
    {{"STEM_SCHEDULER_GRACE", "1m", "A run that is later than this, beside its jitter, was missed."},
     [](Config& c, const std::string& v) { c.misfire_grace = length(v, {}); }},
    {{"STEM_SCHEDULER_LOCK_PERIOD", "15s",
      "The scheduler that leads renews its lock three times in so long; another takes over within two."},
     [](Config& c, const std::string& v) { c.scheduler_lock_period = length(v, seconds{1}); }},
    {{"STEM_SUPERVISOR", "auto",
      "What manages the nodes of `stem worker multi`: systemd, start-stop-daemon or auto."},
     [](Config& c, const std::string& v) {
       c.supervisor = one_of(v, {"systemd", "start-stop-daemon", "auto"});
     }},
    {{"STEMD_NODES", "", "Nodes of `stem worker multi` where none are named, separated by blanks."},
     [](Config& c, const std::string& v) { c.nodes = names(v, " \t\n"); }},
    {{"STEM_WORKER_NODES", "", "As STEMD_NODES, which wins."},
     [](Config& c, const std::string& v) { c.nodes = c.nodes.empty() ? names(v, " \t\n") : c.nodes; }},
    // Read where they are needed: the first before everything else, the others by `multi`.
    {{"STEM_ENV_FILE", "",
      "Environment files to read first, separated by blanks; one that is missing is skipped."},
     nullptr},
    {{"STEMD_USER", "", "Whom workers run as that root starts with `stem worker multi` without systemd."},
     nullptr},
    {{"STEMD_GROUP", "", "Their group, where it is not the user's own."}, nullptr},
    {{"STEM_WORKER_INDEX", "",
      "Set for the program of STEM_WORKER_COMMAND: the index of the process in its node."},
     nullptr},
    {{"STEM_WORKER_HOST", "", "Set for the program of STEM_WORKER_COMMAND: the name of the host."}, nullptr},
};

}  // namespace

std::span<const SettingRow> setting_rows() {
  return rows;
}

}  // namespace stem
