#include "storage/postgres_statements.hpp"

namespace stem::postgres {
namespace {

// A job is ready, or leased until `until`; or delayed until `due`; or dead since `dead_at`.
const std::string in_line = "due IS NULL AND dead_at IS NULL";

// Of what was settled: the records of those whose lease was held. `$N::` the keys, values and ends of the
// records.
const std::string write_records = R"(
  INSERT INTO entry AS e(key, version, expires, value)
  SELECT rkey, (SELECT v FROM base) + i, rexpires, rvalue FROM held WHERE rkey IS NOT NULL
  ON CONFLICT (key) DO UPDATE
  SET version = greatest(EXCLUDED.version, e.version + 1), expires = EXCLUDED.expires, value = EXCLUDED.value)";

// Leases what `chosen` names. $2 now, $3 how many, $4 token, $5 length, $6 consumer.
const std::string take_chosen = R"(
  UPDATE job SET token = $4::bigint, until = $2::bigint + greatest($5::bigint, lease), deliveries = deliveries + 1, consumer = $6::text
  FROM chosen WHERE job.ctid = chosen.at
  RETURNING key, id, queue, wire, attempt, deliveries, lane, place)";

}  // namespace

const PostgresStatement begin{"begin", "BEGIN"};
const PostgresStatement commit{"commit", "COMMIT"};
const PostgresStatement rollback{"rollback", "ROLLBACK"};

// $1 channel.
const PostgresStatement notify_broadcast{"notify_broadcast", "SELECT pg_notify($1::text, 'broadcast')"};
const PostgresStatement notify{"notify", "SELECT pg_notify($1::text, '')"};
const PostgresStatement notify_if_added{
    "notify_if_added", "SELECT pg_notify($1::text, '') WHERE current_setting('stem.added', true) > '0'"};

// For the statement behind it, which looks at all rows.
const PostgresStatement scan_freely{"scan_freely", "SELECT set_config('enable_seqscan', 'on', true)"};

// $1 now; of each job $2 id, $3 queue, $4 lane, $5 attempt, $6 due or null, $7 lease or null, $8 wire. Tells
// how many were new, and leaves it for notify_if_added: who notifies in the same transaction waits for all
// others who do.
const PostgresStatement publish{"publish", R"(
  WITH added AS (
    INSERT INTO job AS j(key, place, since, due, lease, attempt, lane, id, queue, wire)
    SELECT n, n, coalesce(due, $1::bigint), due, lease, attempt, lane, id, queue, wire
    FROM (SELECT nextval('number') AS n, given.*
          FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[])
            AS given(id, queue, lane, attempt, due, lease, wire)) numbered
    ON CONFLICT (id) DO UPDATE
    SET place = EXCLUDED.place, since = EXCLUDED.since, due = EXCLUDED.due, lease = EXCLUDED.lease, attempt = EXCLUDED.attempt,
        lane = EXCLUDED.lane, queue = EXCLUDED.queue, wire = EXCLUDED.wire, dead_at = NULL, reason = NULL, meta = NULL
    WHERE j.dead_at IS NOT NULL
    RETURNING 1)
  SELECT count(*), set_config('stem.added', count(*)::text, false) FROM added)"};

// $1 slot, $2 number. Behind `publish`: what tells whether it was committed, to whoever lost the answer.
const PostgresStatement mark{"mark", R"(
  INSERT INTO publication(slot, number, added) VALUES($1::bigint, $2::bigint, current_setting('stem.added')::bigint)
  ON CONFLICT (slot) DO UPDATE SET number = EXCLUDED.number, added = EXCLUDED.added, at = EXCLUDED.at)"};
const PostgresStatement look_up_mark{
    "look_up_mark", "SELECT added FROM publication WHERE slot = $1::bigint AND number = $2::bigint"};
const PostgresStatement forget_marks{"forget_marks",
                                     "DELETE FROM publication WHERE at < now() - interval '1 hour'"};

// Of each job $1 key, $2 token; $3 key, $4 value, $5 end of its record, or nulls. Tells which were held,
// counted from 1.
const PostgresStatement acknowledge{"acknowledge", R"(
  WITH base AS MATERIALIZED (SELECT nextval('version') AS v),
  held AS (
    DELETE FROM job USING unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[])
      WITH ORDINALITY AS g(key, token, rkey, rvalue, rexpires, i)
    WHERE job.key = g.key AND job.token = g.token
    RETURNING i, rkey, rvalue, rexpires),
  written AS ()" + write_records + R"()
  SELECT array_agg(i) FROM held)"};

// $1 now; of each job $2 key, $3 token, $4 kind: R retry, P put back, D dead; $5 due, $6 reason, $7 meta or
// nulls; $8, $9, $10 its record. Tells which were held, counted from 1.
const PostgresStatement settle{"settle", R"(
  WITH base AS MATERIALIZED (SELECT nextval('version') AS v),
  held AS (
    UPDATE job
    SET token = 0, until = 0, consumer = '', deliveries = 0, attempt = attempt + (g.kind = 'R')::int,
        due = CASE WHEN g.due > $1::bigint THEN g.due END,
        since = CASE WHEN g.kind = 'R' OR g.due > $1::bigint THEN greatest(g.due, $1::bigint) ELSE since END,
        place = CASE WHEN g.kind <> 'P' OR g.due > $1::bigint THEN nextval('number') ELSE place END,
        dead_at = CASE WHEN g.kind = 'D' THEN $1::bigint END, reason = g.reason, meta = g.meta
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bytea[], $7::bytea[], $8::text[], $9::bytea[], $10::bigint[])
      WITH ORDINALITY AS g(key, token, kind, due, reason, meta, rkey, rvalue, rexpires, i)
    WHERE job.key = g.key AND job.token = g.token
    RETURNING i, rkey, rvalue, rexpires),
  written AS ()" + write_records + R"()
  SELECT array_agg(i) FROM held)"};

// $1 queues, $2 now, $3 how many of each queue.
const PostgresStatement promote{"promote", R"(
  WITH ripe AS MATERIALIZED (
    SELECT r.at FROM unnest($1::text[]) AS q(queue), LATERAL (
      SELECT ctid AS at FROM job WHERE queue = q.queue AND due <= $2::bigint ORDER BY due LIMIT $3::bigint FOR UPDATE SKIP LOCKED) r)
  UPDATE job SET due = NULL, place = nextval('number') FROM ripe WHERE job.ctid = ripe.at)"};

// $1 queue, and take_chosen's.
const PostgresStatement lease_of_one{"lease_of_one", R"(
  WITH chosen AS MATERIALIZED (
    SELECT ctid AS at FROM job WHERE queue = $1::text AND )" +
                                                         in_line + R"( AND until <= $2::bigint
    ORDER BY lane, place LIMIT $3::bigint FOR UPDATE SKIP LOCKED))" +
                                                         take_chosen};

// $1 queues, and take_chosen's. Lane after lane, and in each queue after queue, as far as it takes.
const PostgresStatement lease_of_many{"lease_of_many", R"(
  WITH chosen AS MATERIALIZED (
    SELECT r.at
    FROM (SELECT lane::smallint AS lane, q.queue FROM generate_series(0, 9) AS lane, unnest($1::text[]) WITH ORDINALITY AS q(queue, position)
          ORDER BY lane, position) l,
      LATERAL (SELECT ctid AS at FROM job WHERE queue = l.queue AND lane = l.lane AND )" +
                                                           in_line + R"( AND until <= $2::bigint
               ORDER BY place LIMIT $3::bigint FOR UPDATE SKIP LOCKED) r
    LIMIT $3::bigint))" + take_chosen};

// Of each job $1 key, $2 token; $3 end. Tells which were held, counted from 1.
const PostgresStatement renew{"renew", R"(
  WITH held AS (
    UPDATE job SET until = greatest(until, $3::bigint)
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS g(key, token, i)
    WHERE job.key = g.key AND job.token = g.token RETURNING i)
  SELECT array_agg(i) FROM held)"};

// $1 session. It may be in the middle of what nobody waits for any more.
const PostgresStatement end_session{"end_session", R"(
  SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity WHERE pid || ' ' || extract(epoch FROM backend_start) = $1::text)"};
// Of each job $1 key, $2 token.
const PostgresStatement count_held{"count_held", R"(
  SELECT count(*) FROM unnest($1::bigint[], $2::bigint[]) AS g(key, token) JOIN job ON job.key = g.key AND job.token = g.token)"};
// $1 queues, $2 token.
const PostgresStatement release_token{
    "release_token",
    "UPDATE job SET token = 0, until = 0, consumer = '', deliveries = deliveries - 1 "
    "WHERE queue = ANY($1::text[]) AND " +
        in_line + " AND token = $2::bigint"};

// $1 queues.
const PostgresStatement next_due{"next_due", R"(
  SELECT least(
    (SELECT min(r.due) FROM unnest($1::text[]) AS q(queue), LATERAL (
       SELECT due FROM job WHERE queue = q.queue AND due IS NOT NULL ORDER BY due LIMIT 1) r),
    (SELECT min(until) FROM job WHERE queue = ANY($1::text[]) AND )" +
                                                 in_line + R"( AND until > 0)))"};

// $1 id.
const PostgresStatement find{
    "find",
    "SELECT wire, attempt, deliveries, due, until, consumer, dead_at, reason FROM job WHERE id = $1::text"};

// $1 now.
const PostgresStatement depths{"depths", R"(
  SELECT queue, count(*) FILTER (WHERE ready), count(*) FILTER (WHERE dead_at IS NULL AND due > $1::bigint),
    count(*) FILTER (WHERE dead_at IS NULL AND until > $1::bigint), count(*) FILTER (WHERE dead_at IS NOT NULL),
    min(since) FILTER (WHERE ready)
  FROM (SELECT *, dead_at IS NULL AND until <= $1::bigint AND coalesce(due <= $1::bigint, true) AS ready FROM job) job
  GROUP BY queue ORDER BY queue)"};

// $1 queue or nothing, $2 how many.
const PostgresStatement dead_letters{"dead_letters", R"(
  SELECT id, queue, wire, attempt, reason, meta, dead_at FROM job WHERE dead_at IS NOT NULL AND ($1::text = '' OR queue = $1::text)
  ORDER BY dead_at DESC, place DESC LIMIT $2::bigint)"};

// $1 ids, $2 now.
const PostgresStatement replay{"replay", R"(
  WITH replayed AS (
    UPDATE job SET dead_at = NULL, reason = NULL, meta = NULL, attempt = 0, since = $2::bigint, place = nextval('number')
    FROM unnest($1::text[]) AS g(id) WHERE job.id = g.id AND dead_at IS NOT NULL RETURNING 1)
  SELECT count(*), set_config('stem.added', count(*)::text, false) FROM replayed)"};
// $1 ids.
const PostgresStatement purge{"purge", R"(
  WITH purged AS (DELETE FROM job USING unnest($1::text[]) AS g(id) WHERE job.id = g.id AND dead_at IS NOT NULL RETURNING 1)
  SELECT count(*) FROM purged)"};

// $1 channel, $2 end, $3 wire. The one row of `said` is held until the commit, so that numbers are seen in
// their order.
const PostgresStatement say{"say", R"(
  WITH next AS (UPDATE said SET last = last + 1 RETURNING last)
  INSERT INTO message(number, channel, expires, wire) SELECT last, $1::text, $2::bigint, $3::bytea FROM next)"};
// $1 now.
const PostgresStatement sweep_messages{"sweep_messages", R"(
  WITH old AS MATERIALIZED (SELECT ctid AS at FROM message WHERE expires <= $1::bigint ORDER BY expires LIMIT 100 FOR UPDATE SKIP LOCKED)
  DELETE FROM message USING old WHERE message.ctid = old.at)"};
const PostgresStatement end_of_messages{"end_of_messages", "SELECT last FROM said"};
// $1 channel, $2 number, $3 now, $4 how many.
const PostgresStatement hear{"hear", R"(
  SELECT number, wire FROM message WHERE channel = $1::text AND number > $2::bigint AND expires > $3::bigint
  ORDER BY number LIMIT $4::bigint)"};

// $1 key, $2 now, $3 version. Nobody writes the value until the transaction ends; and two who are going to
// wait in line, not for each other.
const PostgresStatement guard{"guard",
                              "SELECT 1 FROM entry WHERE key = $1::text AND version = $3::bigint "
                              "AND (expires IS NULL OR expires > $2::bigint) FOR NO KEY UPDATE"};
// $1 key, $2 now. What has expired is as good as absent, and keeps others from writing the key until the
// transaction ends.
const PostgresStatement guard_absent{"guard_absent", R"(
  INSERT INTO entry AS e(key, version, expires, value) VALUES($1::text, nextval('version'), 0, '')
  ON CONFLICT (key) DO UPDATE SET value = e.value WHERE e.expires <= $2::bigint RETURNING 1)"};
// $1 key, $2 now.
const PostgresStatement get{"get",
                            "SELECT version, expires, value FROM entry WHERE key = $1::text AND (expires IS "
                            "NULL OR expires > $2::bigint)"};
// Of each $1 key, $2 value, $3 end or null.
const PostgresStatement put{"put", R"(
  WITH base AS MATERIALIZED (SELECT nextval('version') AS v),
  held AS (SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[]) WITH ORDINALITY AS g(rkey, rvalue, rexpires, i)))" +
                                       write_records};
// $1 key, $2 value, $3 ends, 0 = never, $4 now.
const PostgresStatement set_if_absent{"set_if_absent", R"(
  INSERT INTO entry AS e(key, version, expires, value) VALUES($1::text, nextval('version'), nullif($3::bigint, 0), $2::bytea)
  ON CONFLICT (key) DO UPDATE
  SET version = greatest(EXCLUDED.version, e.version + 1), expires = EXCLUDED.expires, value = EXCLUDED.value
  WHERE e.expires <= $4::bigint RETURNING 1)"};
// The same, and $5 version.
const PostgresStatement set_if_version{"set_if_version", R"(
  UPDATE entry SET version = greatest(nextval('version'), version + 1), expires = nullif($3::bigint, 0), value = $2::bytea
  WHERE key = $1::text AND version = $5::bigint AND (expires IS NULL OR expires > $4::bigint) RETURNING 1)"};
// $1 key, $2 now.
const PostgresStatement erase{"erase",
                              "DELETE FROM entry WHERE key = $1::text RETURNING (expires IS NULL OR expires "
                              "> $2::bigint)::int::bigint"};
// $1 prefix, $2 what sorts behind it, $3 after, $4 now, $5 how many.
const PostgresStatement list{"list", R"(
  SELECT version, expires, value, key FROM entry
  WHERE key >= $1::text AND key < $2::text AND key > $3::text AND (expires IS NULL OR expires > $4::bigint) ORDER BY key LIMIT $5::bigint)"};
// $1 now, $2 how many.
const PostgresStatement sweep{"sweep", R"(
  WITH old AS MATERIALIZED (
    SELECT ctid AS at FROM entry WHERE expires <= $1::bigint ORDER BY expires LIMIT $2::bigint FOR UPDATE SKIP LOCKED),
  swept AS (DELETE FROM entry USING old WHERE entry.ctid = old.at RETURNING 1)
  SELECT count(*) FROM swept)"};

}  // namespace stem::postgres
