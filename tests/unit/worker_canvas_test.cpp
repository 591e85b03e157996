#include <doctest/doctest.h>
#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "child_process.hpp"
#include "error_of.hpp"
#include "interposed_store.hpp"
#include "places.hpp"
#include "worker/attempts.hpp"
#include "worker/canvas_keeping.hpp"
#include "worker/canvas_state.hpp"
#include "worker/standing_orders.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

std::vector<Job> numbered(const std::string& task, int count) {
  std::vector<Job> jobs;
  for (int i = 0; i < count; ++i) jobs.push_back({task, {{"n", i}}});
  return jobs;
}

int number(const TaskContext& job) {
  return job.args().at("n").get<int>();
}

}  // namespace

EVERYWHERE("chain: each link begins after the one before, and reads its result") {
  Plant<Place> plant;
  plant.tasks.add("start", [](TaskContext& job) {
    CHECK(job.previous() == nullptr);
    return 1;
  });
  plant.tasks.add("double", [](TaskContext& job) { return 2 * job.previous()->as<int>(); });
  const auto chain = plant.stem().enqueue(Chain{{{"start"}, {"double"}, {"double"}, {"double"}}});
  REQUIRE(chain.links.size() == 4);
  CHECK(plant.stem().result(chain.links[3])->state == TaskState::queued);
  CHECK(plant.stem().result(chain.links[3])->meta["waitsFor"] == chain.links[2]);
  plant.work();
  CHECK(plant.end_of(chain.links[3]).value == 8);
  CHECK(plant.end_of(chain.links[1]).value == 2);
  plant.rest();
  CHECK(plant.storage().broker->depths().empty());
}

EVERYWHERE(
    "chain: when a link fails, the rest is cancelled and says why, and what was to follow a failure does") {
  Plant<Place> plant;
  std::atomic<int> ran{0};
  std::string told;
  std::mutex mutex;
  plant.tasks.add("fine", [&](TaskContext&) { ++ran; });
  plant.tasks.add("fails", [](TaskContext&) -> Outcome { return Dead{"no such page"}; });
  plant.tasks.add("tell", [&](TaskContext& job) {
    const std::lock_guard lock(mutex);
    told = job.previous()->id + " " + job.previous()->failure->message;
  });
  Job fails{"fails"}, tell{"tell"};
  fails.options.id = "the-one";
  tell.options.id = "tell-it";
  fails.options.on_failure = {tell};
  const auto chain = plant.stem().enqueue(Chain{{{"fine"}, fails, {"fine"}, {"fine"}}});
  plant.work();
  const auto last = plant.end_of(chain.links[3]);
  CHECK(last.state == TaskState::cancelled);
  CHECK(last.failure->type == "chain-broken");
  CHECK(last.failure->message ==
        "job the-one, which it was to follow, has not succeeded: dead: no such page");
  CHECK(plant.end_of(chain.links[2]).state == TaskState::cancelled);
  CHECK(plant.end_of("tell-it").state == TaskState::succeeded);
  CHECK(told == "the-one no such page");
  CHECK(ran == 1);
}

EVERYWHERE("chain: what a link is to read waits for it as long as the link does") {
  Plant<Place> plant;
  plant.tasks.add("t", [](TaskContext&) { return 1; });
  Job later{"t"};
  later.options.delay = 240h;
  const auto chain = plant.stem().enqueue(Chain{{{"t"}, later, {"t"}}});
  const auto store = plant.storage().results;
  const auto left = [&](const std::string& key) {
    return *store->get(key)->expires - Clock::system().wall();
  };
  CHECK(left(result_key(chain.links[1])) > 400h);
  CHECK(left(result_key(chain.links[2])) > 400h);
  plant.work();
  plant.end_of(chain.links[0]);
  Plant<Place>::wait_until([&] { return store->get(canvas_input_key(chain.links[1])).has_value(); });
  CHECK(left(canvas_input_key(chain.links[1])) > 400h);
}

EVERYWHERE("canvas: its books are kept after its last progress, and as long as its last job may wait") {
  Plant<Place> plant;
  std::atomic<bool> open{false};
  plant.tasks.add("t", [&](TaskContext& job) -> Outcome {
    if (number(job) == 299 && !open) return PutBack{100ms};
    return Done{number(job)};
  });
  Job later{"t"};
  later.options.delay = 240h;
  const auto chord = plant.stem().enqueue(Chord{numbered("t", 300), later});
  const auto storage = plant.storage();
  auto& store = *storage.results;
  const auto left = [&](const std::string& key) {
    const auto entry = store.get(key);
    REQUIRE_MESSAGE(entry, key);
    return *entry->expires - Clock::system().wall();
  };
  const auto members = [&] { return store.list(canvas_member_key(chord.id), 1000); };
  CHECK(left(canvas_root_key(chord.id)) > 400h);
  plant.work();
  Plant<Place>::wait_until([&] { return members().size() == 299; });
  for (const auto& one : members()) CHECK(left(one.key) > 400h);
  // Days later, there is an hour left of all.
  auto last = canvas_chunk_from_wire(store.get(canvas_chunk_key(chord.id, 1))->value);
  last.kept = Clock::system().wall() + 1h;
  store.put({{canvas_chunk_key(chord.id, 1), to_wire(last), 1h}});
  for (const auto& one : members()) store.put({{one.key, one.value, 1h}});
  for (const auto& key : {canvas_root_key(chord.id), canvas_chunk_key(chord.id, 0), result_key(chord.id),
                          result_key(chord.callback)})
    store.put({{key, store.get(key)->value, 1h}});
  open = true;
  CHECK(plant.end_of(chord.id).state == TaskState::succeeded);
  CHECK(left(canvas_chunk_key(chord.id, 0)) > 400h);
  CHECK(left(result_key(chord.callback)) > 400h);
  CHECK(left(canvas_input_key(chord.callback)) > 400h);
  CHECK(members().size() == 300);
  for (const auto& one : members()) CHECK(left(one.key) > 400h);
}

TEST_CASE("canvas: as long as there is much left of its books they are not written anew") {
  Plant<MemoryPlace> plant;
  plant.tasks.add("t", [](TaskContext&) {});
  const auto group = plant.stem().enqueue(Group{{{"t"}, {"never"}}});
  const auto store = plant.storage().results;
  const auto root = store->get(canvas_root_key(group.id));
  const auto now = Clock::system().wall();
  CHECK(keep_canvas(*store, group.id, canvas_ttl, canvas_ttl / 2, now) == *root->expires);
  CHECK(store->get(root->key)->version == root->version);
  CHECK(keep_canvas(*store, group.id, 2 * canvas_ttl, 3 * canvas_ttl / 2, now) == now + 2 * canvas_ttl);
  CHECK(*store->get(root->key)->expires - now > canvas_ttl);
  CHECK(*store->get(result_key(group.id))->expires - now > canvas_ttl);
  CHECK_FALSE(store->get(canvas_chunk_key(group.id, 0)));
  // Nothing is made of what is gone.
  CHECK(keep_canvas(*store, "gone", canvas_ttl, canvas_ttl, now) == now + canvas_ttl);
  CHECK_FALSE(store->get(canvas_root_key("gone")));
}

TEST_CASE("canvas: books are kept no longer than another has written them meanwhile") {
  Plant<MemoryPlace> plant;
  plant.tasks.add("t", [](TaskContext&) {});
  const auto group = plant.stem().enqueue(Group{{{"t"}, {"never"}}});
  const auto key = canvas_root_key(group.id);
  InterposedStore store(plant.storage().results);
  store.put({{key, store.get(key)->value, 1h}});
  store.before = [&, once = true](const std::vector<StoreWrite>& writes) mutable {
    // As who enters a chunk that is complete.
    if (writes[0].key == key && std::exchange(once, false))
      store.real->put({{key, store.get(key)->value, 1h}});
  };
  const auto now = Clock::system().wall();
  const auto kept = keep_canvas(store, group.id, canvas_ttl, canvas_ttl / 2, now);
  CHECK(kept == *store.get(key)->expires);
  CHECK(*store.get(key)->expires - now < 2h);
  CHECK(keep_canvas(store, group.id, canvas_ttl, canvas_ttl / 2, now) == now + canvas_ttl);
  CHECK(*store.get(key)->expires - now > canvas_ttl / 2);
}

EVERYWHERE("canvas: jobs with ids of their own are enqueued each time the canvas is") {
  Plant<Place> plant;
  std::atomic<int> loaded{0}, summed{0}, told{0};
  plant.tasks.add("step", [](TaskContext&) { return 1; });
  plant.tasks.add("fails", [](TaskContext&) -> Outcome { return Dead{"no"}; });
  plant.tasks.add("load", [&](TaskContext& job) { return loaded += job.previous()->value.get<int>(); });
  plant.tasks.add("sum", [&](TaskContext& job) { return ++summed, job.chord_results().size(); });
  plant.tasks.add("tell", [&](TaskContext&) { ++told; });
  plant.work();
  for (int night = 1; night <= 3; ++night) {
    CAPTURE(night);
    Job load{"load"}, after{"load"}, sum{"sum"}, fails{"fails"}, tell{"tell"};
    load.options.id = "load-main";
    sum.options.id = "sum-main";
    tell.options.id = "tell-main";
    after.options.id = "after-main";
    fails.options.on_failure = {tell};
    fails.options.then = {after};
    plant.stem().enqueue(Chain{{{"step"}, load}});
    plant.stem().enqueue(Chord{numbered("step", 2), sum});
    plant.stem().submit({fails});
    Plant<Place>::wait_until([&] { return loaded == night && summed == night && told == night; });
    CHECK(plant.end_of("load-main").value == night);
    CHECK(plant.end_of("sum-main").value == 2);
    CHECK(plant.end_of("after-main").state == TaskState::cancelled);
    Plant<Place>::wait_until([&] {
      return plant.storage().broker->depths().empty() || plant.storage().broker->depths().at(0).ready == 0;
    });
    for (const auto* id : {"load-main", "sum-main", "tell-main"})
      Plant<Place>::wait_until([&] { return !plant.storage().broker->find(id); });
  }
}

EVERYWHERE("chain: a dead link that is replayed goes on with the rest") {
  Plant<Place> plant;
  std::atomic<bool> mended{false};
  plant.tasks.add("step", [&](TaskContext&) -> Outcome {
    if (!mended) return Dead{"not yet"};
    return Done{3};
  });
  plant.tasks.add("last", [](TaskContext& job) { return job.previous()->value; });
  const auto chain = plant.stem().enqueue(Chain{{{"step"}, {"last"}}});
  plant.work();
  CHECK(plant.end_of(chain.links[1]).state == TaskState::cancelled);
  Plant<Place>::wait_until(
      [&] { return plant.storage().broker->find(chain.links[0])->state == JobView::State::dead; });
  mended = true;
  CHECK(plant.storage().broker->replay(std::vector{chain.links[0]}) == 1);
  Plant<Place>::wait_until(
      [&] { return plant.stem().result(chain.links[1])->state == TaskState::succeeded; });
  CHECK(plant.stem().result(chain.links[1])->value == 3);
}

EVERYWHERE("group: it can be looked at and waited for as one") {
  Plant<Place> plant;
  std::atomic<int> open{0};
  plant.tasks.add("t", [&](TaskContext& job) {
    Plant<Place>::wait_until([&] { return number(job) < open; });
    return number(job);
  });
  const auto group = plant.stem().enqueue(Group{numbered("t", 5)});
  CHECK(group.members.size() == 5);
  CHECK(plant.stem().result(group.id)->state == TaskState::queued);
  plant.work();
  open = 2;
  Plant<Place>::wait_until([&] { return plant.stem().result(group.id)->value["succeeded"] == 2; });
  CHECK(plant.stem().result(group.id)->state == TaskState::running);
  CHECK(plant.stem().result(group.id)->value["total"] == 5);
  open = 5;
  const auto end = plant.end_of(group.id);
  CHECK(end.state == TaskState::succeeded);
  CHECK(end.value == Json{{"total", 5}, {"succeeded", 5}, {"failed", 0}});
}

EVERYWHERE("group: members that fail, are too late or are revoked are told") {
  Plant<Place> plant;
  plant.tasks.add("fine", [](TaskContext&) {});
  plant.tasks.add("throws", [](TaskContext&) { throw std::runtime_error("broken pipe"); });
  Job late{"fine"}, gone{"fine"}, unknown{"unknown"}, throws{"throws"};
  late.options.expires = 1ms;
  gone.options.id = "revoke-me-" + new_id(Clock::system().wall());
  throws.options.max_retries = 1;
  const auto group = plant.stem().enqueue(Group{{{"fine"}, late, gone, unknown, throws}});
  poll(nullptr, 0, 5);
  const auto storage = plant.storage();
  StandingOrders(storage.standing_orders(), "stem", std::nullopt, Clock::system())
      .revoke({{.job = gone.options.id, .issued = Clock::system().wall()}});
  plant.work();
  const auto end = plant.end_of(group.id);
  CHECK(end.state == TaskState::failed);
  CHECK(end.value == Json{{"total", 5}, {"succeeded", 1}, {"failed", 4}});
  CHECK(end.failure->type == "member-failed");
  CHECK(end.failure->message.starts_with("4 of 5 members have not succeeded, such as "));
  CHECK(plant.end_of(gone.options.id).state == TaskState::cancelled);
}

EVERYWHERE("chord: the callback is run once, when all members have succeeded, and reads what they returned") {
  Plant<Place> plant;
  std::atomic<int> called{0};
  plant.tasks.add("square", [](TaskContext& job) { return number(job) * number(job); });
  plant.tasks.add("sum", [&](TaskContext& job) {
    ++called;
    int sum = 0, last = -1;
    for (const auto& one : job.chord_results()) {
      CHECK(one.get<int>() > last);  // in the members' order
      last = one.get<int>();
      sum += last;
    }
    CHECK(job.chord_results().size() == 600);
    return sum;
  });
  Job sum{"sum"};
  sum.options.then = {{"square", {{"n", 9}}}};
  const auto chord = plant.stem().enqueue(Chord{numbered("square", 600), sum});
  CHECK(plant.stem().result(chord.callback)->state == TaskState::queued);
  for (int i = 0; i < 3; ++i) plant.work();
  CHECK(plant.end_of(chord.callback).value == 71820100);
  CHECK(plant.end_of(chord.id).state == TaskState::succeeded);
  // What the callback has read is thrown away.
  Plant<Place>::wait_until(
      [&] { return plant.storage().results->list(canvas_member_key(chord.id), 10).empty(); });
  Plant<Place>::wait_until(
      [&] { return plant.storage().broker->depths().empty(); });  // the job behind it, too
  plant.rest();
  CHECK(called == 1);
}

EVERYWHERE("chord: with a failed member the callback is not run, and its record says why") {
  Plant<Place> plant;
  std::atomic<int> called{0};
  plant.tasks.add("t", [](TaskContext& job) {
    if (number(job) == 3) throw std::runtime_error("no page 3");
  });
  plant.tasks.add("bind", [&](TaskContext&) { ++called; });
  plant.tasks.add("tell", [](TaskContext& job) { return job.previous()->failure->type; });
  auto members = numbered("t", 5);
  members[3].options.id = "three";
  members[3].options.max_retries = 0;
  Job bind{"bind"}, tell{"tell"}, next{"bind"};
  tell.options.id = "tell-it";
  next.options.id = "never";
  bind.options.on_failure = {tell};
  bind.options.then = {next};
  const auto chord = plant.stem().enqueue(Chord{members, bind});
  plant.work();
  const auto end = plant.end_of(chord.callback);
  CHECK(end.state == TaskState::failed);
  CHECK(end.failure->type == "chord-broken");
  CHECK(end.failure->message == "1 of the 5 members of " + chord.id +
                                    " have not succeeded, such as three: std::runtime_error: no page 3");
  CHECK(plant.end_of("tell-it").value == "chord-broken");
  CHECK(plant.end_of("never").state == TaskState::cancelled);
  CHECK(plant.end_of(chord.id).state == TaskState::failed);
  CHECK(called == 0);
}

TEST_CASE(
    "chord: members that ignore their results give null, and a short record keeps nothing from the "
    "callback") {
  Plant<MemoryPlace> plant;
  plant.tasks.add("mute", [](TaskContext&) { return 5; }, {.ignore_result = true});
  plant.tasks.add("brief", [](TaskContext&) { return 6; }, {.result_ttl = 1ms});
  plant.tasks.add("list", [](TaskContext& job) { return job.chord_results(); });
  const auto chord = plant.stem().enqueue(Chord{{{"mute"}, {"brief"}}, {"list"}});
  plant.work();
  CHECK(plant.end_of(chord.callback).value == Json{nullptr, 6});
}

TEST_CASE("canvas: what cannot be part of it is refused before anything is enqueued") {
  Plant<MemoryPlace> plant;
  auto& stem = plant.stem();
  Job unique{"t"}, twice{"t"}, bad{"t t"};
  unique.options.unique_for = 1h;
  twice.options.id = "x";
  CHECK(error_of([&] { stem.enqueue(Chain{}); }).says("a chain has 1 to 100 jobs, not 0"));
  CHECK(error_of([&] { stem.enqueue(Chain{std::vector<Job>(101, Job{"t"})}); }).says("not 101"));
  CHECK(error_of([&] { stem.enqueue(Group{}); }).says("a group has 1 to 20000 jobs, not 0"));
  CHECK(error_of([&] { stem.enqueue(Chord{{}, {"t"}}); }).status == 64);
  CHECK(error_of([&] { stem.enqueue(Group{{unique}}); }).says("cannot be unique"));
  CHECK(error_of([&] { stem.enqueue(Chord{{{"t"}}, unique}); }).says("cannot be unique"));
  CHECK(error_of([&] { stem.enqueue(Group{{twice, twice}}); }).says("the same id"));
  CHECK(error_of([&] { stem.enqueue(Chain{{{"t"}, bad}}); }).status == 64);
  Job job{"t"};
  for (int i = 0; i < 101; ++i) {
    Job outer{"t"};
    outer.options.then = {job};
    job = outer;
  }
  CHECK(error_of([&] { stem.submit({job}); }).says("more than 100 jobs would follow one another"));
  // What workers could not read is told here already.
  Json nested = 1;
  for (int i = 0; i < 500; ++i) nested = Json{{"n", nested}};
  bool refused = false;
  for (int i = 0; i < 12 && !refused; ++i) {
    nested = Json{{"n", nested}};
    Job outer{"t"};
    outer.options.then = {{"t", nested}};
    const auto error = error_of([&] {
      const auto id = stem.submit({outer}).at(0).id;
      CHECK(canvas_part(envelope_from_wire(plant.storage().broker->find(id)->wire))->then.size() == 1);
      plant.storage().broker->settle(std::vector{
          Settlement{plant.storage().broker->fetch({{"default"}, 1, 30s, "x"}).at(0).receipt, Ack{}, {}}});
    });
    refused = error.says("nested deeper than workers read");
    if (!refused) CHECK(error.message.empty());
  }
  CHECK(refused);
  for (const auto& entry : plant.storage().results->list("", 100)) plant.storage().results->erase(entry.key);
  CHECK(plant.storage().broker->depths().empty());
  CHECK(plant.storage().results->list("", 10).empty());
  CHECK(stem.enqueue(Chain{std::vector<Job>(100, Job{"t"})}).links.size() == 100);
}

TEST_CASE("canvas: nothing that goes to everyone is part of it") {
  Plant<MemoryPlace> plant;
  TempDir dir;
  std::ofstream(dir / "routing.yaml") << "broadcasts: {news: {}}\nroutes:\n  - {match: {task: 'news.*'}, "
                                         "target: {type: broadcast, name: news}}\n";
  plant.config.routing_file = dir / "routing.yaml";
  auto& stem = plant.stem();
  CHECK(error_of([&] { stem.enqueue(Group{{{"news.tell"}}}); }).says("broadcast channel news"));
  Job news{"news.tell"};
  news.options.then = {{"t"}};
  CHECK(error_of([&] { stem.submit({news}); }).says("nothing can follow a message to everyone"));
  news.options.then.clear();
  news.options.unique_for = 1h;
  CHECK(error_of([&] { stem.submit({news}); }).says("cannot be unique"));
}

TEST_CASE("canvas: where jobs are signed, all of it is, and a worker that can only verify goes on with it") {
  Plant<SqlitePlace> plant;
  auto signing = plant.config;
  signing.signing.algorithm = "ed25519";
  signing.signing.public_keys = {{"k",
                                  "\x03\xa1\x07\xbf\xf3\xce\x10\xbe\x1d\x70\xdd\x18\xe7\x4b\xc0\x99\x67\xe4"
                                  "\xd6\x30\x9b\xa5\x0d\x5f\x1d\xdc\x86\x64\x12\x55\x31\xb8"}};
  std::string seed;
  for (char c = 0; c < 32; ++c) seed += c;
  signing.signing.private_keys = {{"k", seed}};
  signing.signing.active_key = "k";
  plant.config.signing = signing.signing;
  plant.config.signing.private_keys.clear();
  plant.config.signing.active_key.clear();
  Stem producer(signing);
  plant.tasks.add("t", [](TaskContext&) { return 2; });
  plant.tasks.add("sum", [](TaskContext& job) { return job.chord_results().size(); });
  plant.tasks.add("next", [](TaskContext& job) { return job.previous()->value; });
  Job sum{"sum"};
  sum.options.then = {{"next"}};
  sum.options.then[0].options.id = "after-all";
  sum.options.then[0].args = {{"ratio", 1.0}, {"text", "é"}};
  const auto chord = producer.enqueue(Chord{numbered("t", 3), sum});
  const auto chain = producer.enqueue(Chain{{{"t"}, {"next"}, {"next"}}});

  // Who can write to the store only cannot bring in a callback of their own.
  const auto other = producer.enqueue(Chord{numbered("t", 2), {"sum"}});
  const auto store = plant.storage().results;
  auto root = canvas_root_from_wire(store->get(canvas_root_key(other.id))->value);
  auto callback = envelope_from_wire(root.callback);
  callback.args = {{"evil", true}};
  root.callback = to_wire(callback);
  store->put({{canvas_root_key(other.id), to_wire(root), 1h}});
  // Nor one that was signed for another chord.
  const auto third = producer.enqueue(Chord{numbered("t", 2), {"sum"}});
  auto third_root = canvas_root_from_wire(store->get(canvas_root_key(third.id))->value);
  third_root.callback = canvas_root_from_wire(store->get(canvas_root_key(chord.id))->value).callback;
  store->put({{canvas_root_key(third.id), to_wire(third_root), 1h}});

  plant.work();
  CHECK(plant.end_of("after-all").value == 3);
  CHECK(plant.end_of(chain.links[2]).value == 2);
  CHECK(plant.end_of(other.id).state == TaskState::succeeded);
  CHECK(plant.end_of(third.id).state == TaskState::succeeded);
  plant.rest();
  // Who waits for it is told.
  CHECK(plant.stem().result(other.callback)->state == TaskState::failed);
  CHECK(plant.stem().result(other.callback)->failure->type == "signature-invalid");
  CHECK_FALSE(canvas_root_from_wire(store->get(canvas_root_key(other.id))->value).finished);
  CHECK(plant.stem().result(third.callback)->state == TaskState::queued);
}

TEST_CASE("canvas: books that cannot be read, or are gone, keep the worker from nothing else") {
  Plant<MemoryPlace> plant;
  plant.tasks.add("t", [](TaskContext&) {});
  plant.tasks.add("sum", [](TaskContext&) {});
  const auto store = plant.storage().results;
  const auto torn = plant.stem().enqueue(Group{numbered("t", 2)});
  store->put({{canvas_chunk_key(torn.id, 0), "{", 1h}});
  const auto lost = plant.stem().enqueue(Group{numbered("t", 2)});
  store->erase(canvas_root_key(lost.id));
  const auto chain = plant.stem().enqueue(Chain{{{"t"}, {"t"}}});
  plant.work();
  for (const auto& ids : {torn.members, lost.members})
    for (const auto& id : ids) CHECK(plant.end_of(id).state == TaskState::succeeded);
  CHECK(plant.end_of(chain.links[1]).state == TaskState::succeeded);

  // A callback whose members' results are gone, and a link whose predecessor's is.
  plant.rest();
  const auto chord = plant.stem().enqueue(Chord{numbered("t", 2), {"sum"}});
  const auto callback =
      envelope_from_wire(canvas_root_from_wire(store->get(canvas_root_key(chord.id))->value).callback);
  const auto second = plant.stem().enqueue(Chain{{{"t"}, {"t"}}});
  const auto link =
      canvas_part(envelope_from_wire(plant.storage().broker->find(second.links[0])->wire))->then.front();
  plant.storage().broker->publish(std::vector{callback, link});
  for (const auto& id : {callback.id, link.id}) store->erase(result_key(id));
  plant.config.queues = {"nothing"};
  auto only = plant.storage().broker->fetch({{"default"}, 100, 30s, "by-hand"});
  std::vector<Settlement> settlements;
  for (const auto& one : only)
    settlements.push_back(
        {one.receipt,
         one.id == callback.id || one.id == link.id ? Disposition{Release{}} : Disposition{Ack{}},
         {}});
  plant.storage().broker->settle(settlements);
  plant.config.queues.clear();
  plant.work();
  CHECK(plant.end_of(callback.id).failure->type == "canvas-forgotten");
  CHECK(plant.end_of(callback.id).failure->message == "of 2 members' results, 0 are remembered");
  CHECK(plant.end_of(link.id).failure->message == "the record of the job that it follows is forgotten");

  // Nor is one that is torn waited for.
  plant.rest();
  const auto last = plant.stem().enqueue(Chain{{{"t"}, {"t"}}});
  const auto torn_link =
      canvas_part(envelope_from_wire(plant.storage().broker->find(last.links[0])->wire))->then.front();
  store->put({{canvas_input_key(torn_link.id), canvas_mark(true, torn_link, "{"), 1h}});
  plant.storage().broker->publish(std::vector{torn_link});
  store->erase(result_key(torn_link.id));
  plant.work();
  CHECK(plant.end_of(torn_link.id).failure->type == "canvas-forgotten");
}

TEST_CASE("canvas: a follower that the broker refuses is told, and the worker goes on") {
  Plant<RedisPlace> plant;
  plant.tasks.add("t", [](TaskContext&) {});
  Job one{"t"}, bad{"t"}, good{"t"};
  bad.options.queue = "mail:p5";  // Redis has the jobs of another queue's priority there
  good.options.id = "good";
  bad.options.id = "bad";
  one.options.then = {bad, good};
  plant.stem().submit({one});
  plant.work();
  CHECK(plant.end_of("good").state == TaskState::succeeded);
  CHECK(plant.end_of("bad").failure->type == "not-enqueued");
}

EVERYWHERE("canvas: whenever workers are killed, each callback and each follower is run once") {
  // Members run on workers that are killed; what they enqueue on one that is not, so that it runs more often
  // only if it was enqueued more often.
  Plant<Place> plant;
  if (plant.place.broker.starts_with("memory:")) return;
  plant.config.lease = 600ms;
  plant.config.max_deliveries = 0;
  plant.tasks.add("member", [](TaskContext& job) {
    usleep(static_cast<useconds_t>(5 + number(job) % 7) * 1000);
    return number(job);
  });
  std::mutex mutex;
  std::map<std::string, int> runs;
  const auto note = [&](TaskContext& job) {
    const std::lock_guard lock(mutex);
    ++runs[job.id()];
    return static_cast<int>(job.chord_results().size());
  };
  plant.tasks.add("note", note);

  std::mt19937 random(std::random_device{}());
  const auto start = [&] {
    return std::make_unique<ChildProcess>([&] {
      auto own = plant.config;
      own.queues = {"members"};
      Engine engine(engine_options(own), plant.tasks, open_storage(own));
      engine.start();
      for (;;) pause();
      return 0;
    });
  };
  std::vector<std::unique_ptr<ChildProcess>> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(start());

  std::vector<std::string> last;
  std::vector<Chord::Ids> chords;
  {
    Stem producer(plant.config);
    for (int n = 0; n < 3; ++n) {
      auto members = numbered("member", 100);
      for (auto& member : members) member.options.queue = "members";
      chords.push_back(producer.enqueue(Chord{std::move(members), {"note"}}));
      last.push_back(chords.back().callback);
      for (int i = 0; i < 10; ++i) {
        Job first{"member", {{"n", i}}};
        first.options.queue = "members";
        last.push_back(producer.enqueue(Chain{{first, {"note"}}}).links[1]);
      }
    }
  }
  Stem watcher(plant.config);
  const auto all_ended = [&] {
    return std::all_of(last.begin(), last.end(), [&](const auto& id) {
      const auto result = watcher.result(id);
      return result && is_final(result->state);
    });
  };
  std::unique_ptr<Engine> steady;
  int kills = 0;
  const auto deadline = std::chrono::steady_clock::now() + 100s;
  while (!all_ended()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    usleep(std::uniform_int_distribution<useconds_t>(5'000, 120'000)(random));
    if (kills < 40) {
      auto& victim = workers[random() % workers.size()];
      victim = nullptr;  // SIGKILL
      // Threads of this process must not hold anything while it forks.
      victim = steady ? nullptr : start();
      if (!victim) workers.erase(std::find(workers.begin(), workers.end(), nullptr));
      ++kills;
    }
    if ((kills == 40 || workers.size() < 2) && !steady) {
      while (workers.size() < 2) workers.push_back(start());
      auto own = plant.config;
      steady = std::make_unique<Engine>(engine_options(own), plant.tasks, open_storage(own));
      steady->start();
    }
  }
  CHECK(kills >= 10);
  steady->quiet();
  Plant<Place>::wait_until([&] { return steady->finished(); });
  for (const auto& id : last) {
    CAPTURE(id);
    CHECK(runs[id] == 1);
  }
  for (const auto& chord : chords) {
    CHECK(watcher.result(chord.callback)->value == 100);
    CHECK(watcher.result(chord.id)->value["succeeded"] == 100);
  }
}

EVERYWHERE("canvas: what a worker did that died before it settled is done again, and happens once") {
  // The books are entered by one worker, which then loses its lease, and by the next.
  Plant<Place> plant;
  plant.tasks.add("member", [](TaskContext& job) { return number(job); });
  std::atomic<int> noted{0};
  plant.tasks.add("note", [&](TaskContext&) { ++noted; });
  const auto storage = plant.storage();
  const auto chord = plant.stem().enqueue(Chord{numbered("member", 3), {"note"}});
  const auto chain = plant.stem().enqueue(Chain{{{"member", {{"n", 1}}}, {"note"}}});

  Counters counters;
  JobSeriesBook series;
  CanvasBook book(storage, Clock::system(), std::nullopt, 1h, 30s);
  int dispatched = 0;
  book.on_chord = [&](const std::string&) { ++dispatched; };
  const auto rules = AttemptRules{"by-hand", 20, {}, 1h};
  for (int round = 0; round < 2; ++round) {
    auto deliveries = storage.broker->fetch({{"default"}, 10, 30s, "by-hand"});
    if (round == 0) REQUIRE(deliveries.size() == 4);
    std::vector<std::unique_ptr<LeasedJob>> jobs;
    Unsettled unsettled(counters, series);
    std::vector<Settlement> releases;
    for (auto& delivery : deliveries) {
      const auto envelope = envelope_from_wire(delivery.wire);
      if (envelope.name == "note") {
        releases.push_back({delivery.receipt, Release{}, {}});
        continue;
      }
      jobs.push_back(std::make_unique<LeasedJob>(delivery));
      jobs.back()->canvas = std::make_unique<const CanvasPart>(*canvas_part(envelope));
      unsettled.add(
          *jobs.back(),
          settle_outcome(delivery, envelope, {}, Done{round}, {{}, Clock::system().wall()}, rules, 0), {});
      releases.push_back({delivery.receipt, Release{}, {}});
    }
    book.enter(unsettled);
    // As if it had died before it remembered that the chord was done.
    auto root = canvas_root_from_wire(storage.results->get(canvas_root_key(chord.id))->value);
    CHECK(root.finished);
    root.finished = false;
    storage.results->put({{canvas_root_key(chord.id), to_wire(root), 1h}});
    book.enter(unsettled);
    CHECK(dispatched == 1);
    book.settled({});
    storage.broker->settle(releases);
    CHECK(storage.broker->depths().at(0).ready == 6);
  }
  plant.work();
  CHECK(plant.end_of(chord.callback).state == TaskState::succeeded);
  CHECK(plant.end_of(chain.links[1]).state == TaskState::succeeded);
  for (const auto& id : chord.members) plant.end_of(id);
  plant.rest();
  CHECK(noted == 2);
}

EVERYWHERE("group: the largest is enqueued at once") {
  Plant<Place> plant;
  const auto group = plant.stem().enqueue(Group{numbered("t", 20'000)});
  CHECK(group.members.size() == 20'000);
  CHECK(plant.storage().broker->depths().at(0).ready == 20'000);
}

TEST_CASE("canvas: a chord of ten thousand costs each member the same") {
  Plant<SqlitePlace> plant;
  plant.config.concurrency = 4;
  plant.tasks.add("t", [](TaskContext& job) { return number(job); });
  plant.tasks.add("count", [](TaskContext& job) { return job.chord_results().size(); });
  const auto timed = [&](int members) {
    const auto chord = plant.stem().enqueue(Chord{numbered("t", members), {"count"}});
    const auto begin = std::chrono::steady_clock::now();
    plant.work();
    CHECK(plant.end_of(chord.callback).value == members);
    plant.rest();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const auto small = timed(1000), large = timed(10'000);
  MESSAGE("1000 members: " << small << " s, 10000: " << large << " s");
  CHECK(large < 40 * std::max(small, 0.05));
}

TEST_CASE("canvas books: they are read as they were written, and torn ones are an error") {
  CanvasChunk chunk;
  chunk.ended[0] = chunk.ended[200] = chunk.failed[200] = true;
  chunk.failure = "x: \"y\"";
  const auto read = canvas_chunk_from_wire(to_wire(chunk));
  CHECK(read.ended == chunk.ended);
  CHECK(read.failed == chunk.failed);
  CHECK(read.failure == chunk.failure);
  CHECK(CanvasRoot::of(256).complete.size() == 1);
  CHECK(CanvasRoot::of(257).complete.size() == 2);
  auto root = CanvasRoot::of(1000);
  root.complete[3] = true;
  root.failed = 7;
  root.callback = "{}";
  CHECK(canvas_root_from_wire(to_wire(root)).complete == root.complete);
  CHECK(canvas_root_from_wire(to_wire(root)).failed == 7);
  CHECK_FALSE(chunk.complete(0, 2 + 1));
  CHECK(chunk.complete(0, 2));
  CHECK(chunk.complete(1, 258));
  CHECK(error_of([] { canvas_chunk_from_wire("{}"); }).status == 65);
  CHECK(error_of([] { canvas_chunk_from_wire(R"({"ended":"xyz","failed":"","failure":""})"); }).status == 65);
  CHECK(error_of([] { canvas_root_from_wire("[]"); }).status == 65);
}
