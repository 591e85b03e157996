#pragma once

#include <cstddef>
#include <string>

#include "diagnosis/diagnosis.hpp"

namespace stem::cli {

struct DiagnosisLook {
  std::size_t columns = 0;  ///< 0 = lines are as long as they are
  bool colour = false;
  bool all = false;  ///< what is fine, and what was left out, in full as well
};

/// For people: how many there are of what, then errors and warnings with what to do, then the names of what
/// is fine.
std::string diagnosis_text(const Diagnosis& diagnosis, const DiagnosisLook& look);

}  // namespace stem::cli
