#include "storage/postgres_settling.hpp"

#include "storage/instant.hpp"
#include "storage/postgres_statements.hpp"

namespace stem {

bool PostgresSettling::has_room_for(const Settlement& one) const {
  return receipts_.size() < postgres::most_entries && !(one.record && records_.contains(one.record->key));
}

void PostgresSettling::add(const Settlement& one) {
  receipts_.push_back(one.receipt);
  keys_.add(one.receipt.job);
  tokens_.add(one.receipt.token);
  if (one.record) {
    records_.insert(one.record->key);
    record_keys_.add(one.record->key);
    record_values_.add(one.record->value);
    record_ends_.add(one.record->ttl == Duration{} ? std::nullopt
                                                   : std::optional(micros(now_ + one.record->ttl)));
  } else {
    record_keys_.add_null();
    record_values_.add_null();
    record_ends_.add_null();
  }
  if (acknowledging_) return;
  std::optional<std::int64_t> due;
  std::optional<std::string> reason, meta;
  const char* kind = "D";
  if (const auto* retry = std::get_if<RetryAt>(&one.disposition)) {
    kind = "R";
    due = micros(retry->due);
  } else if (const auto* release = std::get_if<Release>(&one.disposition)) {
    kind = "P";
    due = micros(release->due);
  } else if (const auto* letter = std::get_if<DeadLetter>(&one.disposition)) {
    reason = letter->reason;
    meta = letter->meta.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  kinds_.add(std::string_view(kind));
  dues_.add(due);
  reasons_.add(reason);
  metas_.add(meta);
}

PostgresCall PostgresSettling::call() const {
  PostgresParameters parameters;
  if (!acknowledging_) parameters.add(micros(now_));
  parameters.add(keys_).add(tokens_);
  if (!acknowledging_) parameters.add(kinds_).add(dues_).add(reasons_).add(metas_);
  return {acknowledging_ ? postgres::acknowledge : postgres::settle,
          parameters.add(record_keys_).add(record_values_).add(record_ends_)};
}

void PostgresSettling::lost(const PostgresRows& rows, std::vector<Receipt>& lost) const {
  std::vector<bool> held(receipts_.size());
  for (const auto i : rows.numbers(0, 0)) held.at(static_cast<std::size_t>(i - 1)) = true;
  for (std::size_t i = 0; i < receipts_.size(); ++i)
    if (!held[i]) lost.push_back(receipts_[i]);
}

}  // namespace stem
