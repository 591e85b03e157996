#pragma once

#include <stem/json.hpp>
#include <string>
#include <vector>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"

namespace stem {

/// What one check says of one node.
struct Diagnosed {
  const Check* check;
  Finding finding;
};

/// All checks of one node: the worst first, and among equals in the order of a start.
struct Diagnosis {
  std::string node, unit, supervisor;
  std::vector<Diagnosed> results;

  std::size_t count(Severity severity) const;  ///< without those that were skipped
  std::size_t skipped() const;
  Severity worst() const;
};

/// Every check there is, in the order of a start.
std::vector<const Check*> all_checks();

/// Runs every check. What one throws is its finding; no finding holds a password.
Diagnosis diagnose(const Subject& subject);

/// The object of `stem worker diagnose --json`.
Json to_json(const Diagnosis& diagnosis);

}  // namespace stem
