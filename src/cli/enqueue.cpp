#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stem/stem.hpp>

#include "cli/commands.hpp"
#include "cli/result_view.hpp"
#include "core/json_depth.hpp"
#include "core/trace_context.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string task, args = "{}", args_from, queue, id, eta, expires_at, unique_key, unique_until = "ended";
  int priority = 0;
  std::optional<int> max_retries;
  std::optional<double> retry_factor;
  Duration delay{}, expires{}, result_ttl{}, unique_for{}, retry_base{}, retry_cap{},
      timeout = std::chrono::seconds{60};
  bool wait = false, ignore_result = false;
};

/// Jobs of one commit when many are read from a file.
constexpr std::size_t batch = 500;

Json parse_args(const std::string& text, const std::string& where) {
  if (text_too_deep(text))
    throw Error(Exit::data, where + " is nested deeper than " + std::to_string(deepest_json) + " levels");
  try {
    auto args = Json::parse(text);
    if (args.is_object()) return args;
  } catch (const Json::exception&) {
    // Falls through: the parser's own message speaks of byte offsets and states.
  }
  throw Error(Exit::data, where + " is not a JSON object; write for example {\"path\": \"/etc/fstab\"}");
}

/// The trace that this command is a part of, as its caller says: OpenTelemetry's "Environment Variables as
/// Context Propagation Carriers". One that is malformed is none.
void continue_trace(EnqueueOptions& job) {
  const auto of = [](const char* name) { return std::string(std::getenv(name) ? std::getenv(name) : ""); };
  job.headers[traceparent_header] = of("TRACEPARENT");
  job.headers[tracestate_header] = of("TRACESTATE");
  put_trace_context(job.headers, trace_context_of(job.headers));
}

EnqueueOptions job_options(const Options& options) {
  EnqueueOptions job;
  continue_trace(job);
  job.id = options.id;
  job.queue = options.queue;
  job.priority = options.priority;
  job.max_retries = options.max_retries;
  if (options.delay > Duration::zero()) job.delay = options.delay;
  if (!options.eta.empty()) job.eta = parse_time(options.eta);
  const auto given = [](Duration length) {
    return length > Duration::zero() ? std::optional(length) : std::nullopt;
  };
  job.expires = given(options.expires);
  if (!options.expires_at.empty()) job.expires_at = parse_time(options.expires_at);
  job.result_ttl = given(options.result_ttl);
  job.ignore_result = options.ignore_result;
  job.unique_for = given(options.unique_for);
  job.unique_key = options.unique_key;
  job.unique_until = options.unique_until == "window" ? UniqueUntil::window : UniqueUntil::ended;
  if (given(options.retry_base) || given(options.retry_cap) || options.retry_factor) {
    RetryPolicy policy;
    policy.base = given(options.retry_base).value_or(policy.base);
    policy.cap = given(options.retry_cap).value_or(std::max(policy.cap, policy.base));
    policy.factor = options.retry_factor.value_or(policy.factor);
    try {
      policy.validate();
    } catch (const Error& error) {
      throw Error(Exit::usage, error.what());
    }
    job.retry = policy;
  }
  return job;
}

/// For what the library refuses to be 0; without a remark in the help.
CLI::Validator above_zero() {
  return CLI::Validator(
      [](std::string& text) {
        try {
          return parse_duration(text) < std::chrono::milliseconds{1} ? std::string("must be at least 1ms")
                                                                     : std::string();
        } catch (const Error&) {
          return std::string();  // the option says it
        }
      },
      "");
}

void tell(const Enqueued& enqueued, const Options& options, const Common& common) {
  if (common.json) {
    Json json{{"id", enqueued.id}, {"task", options.task}};
    if (options.unique_for > Duration::zero()) json["duplicate"] = enqueued.duplicate;
    std::cout << json << '\n';
    return;
  }
  std::cout << enqueued.id << std::endl;
  if (enqueued.duplicate)
    std::cerr << "stem enqueue: not enqueued: job " << enqueued.id << " has the same unique key\n";
}

/// One job a line. Lines are checked before the batch they are in is sent; what was sent before a bad line is
/// told.
int enqueue_lines(const Options& options, const Common& common, Stem& stem) {
  if (!options.id.empty()) throw Error(Exit::usage, "--id names one job; it does not go with --args-from");
  if (options.wait) throw Error(Exit::usage, "--wait waits for one job; it does not go with --args-from");
  std::ifstream file;
  if (options.args_from != "-") {
    file.open(options.args_from);
    const int error = errno;
    if (!file || std::filesystem::is_directory(options.args_from))
      throw Error(error == EACCES ? Exit::no_permission : Exit::no_input,
                  "cannot read " + options.args_from +
                      "; --args-from takes a file of JSON objects, one a line, or -");
  }
  std::istream& in = options.args_from == "-" ? std::cin : file;
  const auto job = job_options(options);
  std::vector<Job> jobs;
  std::size_t line_number = 0, sent = 0;
  const auto send = [&] {
    for (const auto& one : stem.submit(jobs)) tell(one, options, common);
    sent += jobs.size();
    jobs.clear();
  };
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      jobs.push_back(
          {options.task, parse_args(line, options.args_from + ":" + std::to_string(line_number)), job});
    } catch (const Error& error) {
      throw Error(error.code(), std::string(error.what()) + "; " + std::to_string(sent) +
                                    " jobs of the lines before were enqueued");
    }
    if (jobs.size() == batch) send();
  }
  if (in.bad())
    throw Error(Exit::no_input, "cannot read " + options.args_from + " any further after line " +
                                    std::to_string(line_number) + "; " + std::to_string(sent) +
                                    " jobs were enqueued");
  if (!jobs.empty()) send();
  return 0;
}

/// Refuses what a producer may not send, before anything is opened.
void check(const Options& options) {
  Envelope envelope;
  envelope.id = options.id.empty() ? "new" : options.id;
  envelope.name = options.task;
  envelope.queue = options.queue.empty() ? envelope.queue : options.queue;
  envelope.priority = options.priority;
  validate(envelope);
  if (options.wait && options.ignore_result)
    throw Error(Exit::usage, "--wait waits for what --ignore-result leaves out");
}

int enqueue(const Options& options, const Common& common) {
  check(options);
  const auto args = parse_args(options.args, "--args");
  const auto job = job_options(options);
  Stem stem(load_config(common));
  if (!options.args_from.empty()) return enqueue_lines(options, common, stem);
  const auto one = stem.submit({{options.task, args, job}}).front();
  if (options.wait) return print_result(one.id, stem.wait(one.id, options.timeout), common.json);
  tell(one, options, common);
  return 0;
}

}  // namespace

Work define_enqueue(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("TASK", options->task, "name of the task")->required()->type_name("TASK");
  app.add_option("--args", options->args, "arguments, a JSON object")->type_name("JSON");
  app.add_option("--args-from", options->args_from,
                 "one job for each line of this file (- = standard input), each a JSON object")
      ->type_name("FILE")
      ->excludes("--args");
  app.add_option("-q,--queue", options->queue, "queue (STEM_DEFAULT_QUEUE)")->type_name("NAME");
  app.add_option("-p,--priority", options->priority, "0 to 9; 9 first")->type_name("N");
  app.add_option("--max-retries", options->max_retries, "retries beyond the first run")
      ->type_name("N")
      ->check(between(0, 1000000));
  add_duration(app, "--retry-base", options->retry_base, "delay before the first retry (the task's)")
      ->check(above_zero());
  add_duration(app, "--retry-cap", options->retry_cap, "the longest delay before a retry (5m)")
      ->check(above_zero());
  app.add_option("--retry-factor", options->retry_factor, "how the delay grows from retry to retry (2)")
      ->type_name("X");
  add_duration(app, "--delay", options->delay, "not before this time has passed");
  app.add_option("--eta", options->eta, "not before this instant, ISO 8601")
      ->type_name("TIME")
      ->excludes("--delay");
  add_duration(app, "--expires", options->expires, "cancelled if it has not begun this long after it may")
      ->check(above_zero());
  app.add_option("--expires-at", options->expires_at,
                 "cancelled if it has not begun by this instant, ISO 8601")
      ->type_name("TIME")
      ->excludes("--expires");
  add_duration(app, "--result-ttl", options->result_ttl, "how long its record is kept (STEM_RESULT_TTL)")
      ->check(above_zero());
  app.add_flag("--ignore-result", options->ignore_result, "keep no record of a success");
  auto* const unique =
      add_duration(app, "--unique-for", options->unique_for,
                   "not enqueued while another job of its key is there, for this long at most")
          ->check(above_zero());
  app.add_option("--unique-key", options->unique_key, "the key, within the task (a hash of the arguments)")
      ->type_name("TEXT")
      ->needs(unique);
  app.add_option("--unique-until", options->unique_until,
                 "hold the key until the job has ended, or for the whole window (ended)")
      ->type_name("WHEN")
      ->check(CLI::IsMember({"ended", "window"}).description(""))
      ->needs(unique);
  app.add_option("--id", options->id,
                 "the job's id; one that waits or runs already is left as it is, a dead letter replaced")
      ->type_name("ID");
  app.add_flag("--wait", options->wait, "wait for the end and show the result; exit 1 if the job failed");
  add_duration(app, "--timeout", options->timeout, "how long --wait waits (60s); exit 75 when it is over");
  return [options, &common] { return enqueue(*options, common); };
}

}  // namespace stem::cli
