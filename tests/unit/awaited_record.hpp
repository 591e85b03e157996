#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <stem/result.hpp>

#include "storage/store.hpp"
#include "worker/attempts.hpp"

/// The record of a job once it satisfies `wanted`.
template <class Wanted>
stem::Result awaited_record(stem::Store& results, const std::string& id, Wanted wanted,
                            std::chrono::seconds limit = std::chrono::seconds{60}) {
  std::int64_t version = 0;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < deadline) {
    const auto entry = results.await(stem::result_key(id), version, std::chrono::seconds{20});
    if (!entry) continue;
    version = entry->version;
    if (auto result = stem::result_from_wire(entry->value); wanted(result)) return result;
  }
  FAIL("no such record in time");
  return {};
}
