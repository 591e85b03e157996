#pragma once

#include <functional>
#include <string>
#include <vector>

#include "worker/fleet.hpp"

namespace stem::cli {

/// 0 if each worker has done what it was told, else 1. `nobody` is the status where there was none to tell.
int status_of(const std::vector<FleetAnswer>& answers, int nobody);

/// The array of `--json`, one element a worker.
std::string answers_json(const std::vector<FleetAnswer>& answers);

/// WORKER HOST STATUS, and what `cells` makes of the payload of those that have done it, under `headings`;
/// for the others the error, in the last column. In place of a table, where there is no worker: a line that
/// says so.
std::string answers_table(const std::vector<FleetAnswer>& answers, const std::string& name_space,
                          const std::vector<std::string>& headings,
                          const std::function<std::vector<std::string>(const FleetAnswer&)>& cells);

/// `ok`, `error`, `no answer`, `ended`, `absent`.
const char* word_of(FleetAnswer::Kind kind);

// Values of a payload, which may be anything, for people: `-` if they are not what they should be.
std::string number_cell(const Json& payload, const char* key);
std::string text_cell(const Json& payload, const char* key);
/// Names, joined by commas.
std::string list_cell(const Json& payload, const char* key);
/// Milliseconds as a duration.
std::string length_cell(const Json& payload, const char* key);
std::string bytes_cell(const Json& payload, const char* key);

}  // namespace stem::cli
