#include "worker/job_inputs.hpp"

#include <stem/error.hpp>

#include "worker/attempts.hpp"
#include "worker/canvas_state.hpp"

namespace stem {
namespace {

constexpr std::size_t page = 500;

}  // namespace

std::string JobInputs::read(LeasedJob& job) const {
  if (!job.canvas) return {};
  auto& store = *storage_.results;
  if (job.canvas->follows) {
    const auto input = store.get(canvas_input_key(job.delivery.id));
    if (!input) return "the record of the job that it follows is forgotten";
    job.previous = result_from_wire(marked_record(input->value));
  }
  if (!job.canvas->is_callback()) return {};
  const auto prefix = canvas_member_key(job.canvas->callback_of);
  std::vector<Json> values;
  for (std::string after;;) {
    const auto some = store.list(prefix, page, after);
    for (const auto& entry : some) values.push_back(result_from_wire(entry.value).value);
    if (some.size() < page) break;
    after = some.back().key;
  }
  if (static_cast<std::int64_t>(values.size()) != job.canvas->size)
    return "of " + std::to_string(job.canvas->size) + " members' results, " + std::to_string(values.size()) +
           " are remembered";
  job.chord_results = std::move(values);
  return {};
}

bool JobInputs::repeats(const LeasedJob& job) const {
  if (bound_) return false;
  const bool enqueued_by_workers = job.canvas && (job.canvas->follows || job.canvas->is_callback());
  if (!enqueued_by_workers && !job.envelope.meta.contains("stem.unique.key")) return false;
  const auto record = storage_.results->get(result_key(job.delivery.id));
  if (!record) return false;
  const auto result = result_from_wire(record->value);
  if (result.state != TaskState::succeeded) return false;
  // A producer may use an id of its own again: what ended before this job was made was another.
  const auto completed = result.meta.find("completedAt");
  return completed == result.meta.end() || !completed->is_string() ||
         parse_time(completed->get_ref<const std::string&>()) >= job.envelope.enqueued_at;
}

}  // namespace stem
