#pragma once

#include <libpq-fe.h>

namespace stem {

/// The functions of PostgreSQL's libpq that Stem takes, by their own names. The library is loaded by the
/// first call of postgres_library(), and stays: a process that uses no PostgreSQL does without it, and
/// without the OpenSSL, Kerberos and LDAP that come with it.
struct PostgresLibrary {
// clang-format off
#define STEM_POSTGRES_FUNCTIONS(X)                                                                          \
  X(PQbackendPID)                                                                                           \
  X(PQclear)                                                                                                \
  X(PQconndefaults) X(PQconninfoFree) X(PQconninfoParse) X(PQconnectPoll) X(PQconnectStartParams)           \
      X(PQconsumeInput) X(PQenterPipelineMode) X(PQerrorMessage) X(PQfinish) X(PQflush) X(PQfreemem)        \
          X(PQgetResult) X(PQgetisnull) X(PQgetlength) X(PQgetvalue) X(PQisBusy) X(PQnotifies) X(PQntuples) \
              X(PQparameterStatus) X(PQpipelineSync) X(PQresultErrorField) X(PQresultErrorMessage)          \
                  X(PQresultStatus) X(PQsendPrepare) X(PQsendQuery) X(PQsendQueryPrepared)                  \
                      X(PQserverVersion) X(PQsetErrorVerbosity) X(PQsetNoticeProcessor) X(PQsetnonblocking) \
                          X(PQsocket) X(PQsslAttribute) X(PQsslInUse) X(PQstatus) X(PQtransactionStatus)
// clang-format on
#define STEM_DECLARE(name) decltype(&::name) name;
  STEM_POSTGRES_FUNCTIONS(STEM_DECLARE)
#undef STEM_DECLARE
};

/// Thread-safe. Throws Error (exit 78) if the library is not installed, or older than PostgreSQL 14's.
const PostgresLibrary& postgres_library();

}  // namespace stem
