#pragma once

#include <curl/curl.h>

namespace stem {

/// The functions of libcurl that telling a collector takes, by their own names. Loaded by the first call of
/// curl_library(), and kept: a process that tells nobody does without the milliseconds, and the memory, that
/// libcurl takes.
struct CurlLibrary {
// clang-format off
#define STEM_CURL_FUNCTIONS(X) \
  X(curl_easy_cleanup) X(curl_easy_getinfo) X(curl_easy_init) X(curl_easy_setopt) \
  X(curl_easy_strerror) X(curl_global_init) X(curl_multi_add_handle) X(curl_multi_cleanup) \
  X(curl_multi_info_read) X(curl_multi_init) X(curl_multi_perform) X(curl_multi_poll) \
  X(curl_multi_remove_handle) X(curl_multi_wakeup) X(curl_slist_append) X(curl_slist_free_all)
// clang-format on
// curl.h has macros of some of these names, to check types.
#undef curl_easy_getinfo
#undef curl_easy_setopt
#define STEM_DECLARE(name) decltype(&::name) name;
  STEM_CURL_FUNCTIONS(STEM_DECLARE)
#undef STEM_DECLARE
};

/// Thread-safe. Throws Error (exit 78) if it is not installed, or too old. The first call sees to it that
/// exit() ends all who use it (Tracer::end_all()) before it ends what does TLS for libcurl.
const CurlLibrary& curl_library();

}  // namespace stem
