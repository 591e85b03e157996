#include "storage/redis_reply.hpp"

#include <charconv>
#include <cstring>
#include <stem/error.hpp>
#include <utility>

namespace stem {
namespace {

[[noreturn]] void unexpected() {
  throw Error(
      Exit::software,
      "Redis answered in a way that Stem does not understand; please report it with the server's version");
}

constexpr std::size_t first_piece = 4096;

}  // namespace

const RedisValue& RedisValue::operator[](std::size_t index) const {
  if (index >= elements.size()) unexpected();
  return *elements[index];
}

std::int64_t RedisValue::number() const {
  if (type == REDIS_REPLY_INTEGER) return integer;
  std::int64_t value = 0;
  const auto* const end = text.data() + text.size();
  if (text.empty() || std::from_chars(text.data(), end, value).ptr != end) unexpected();
  return value;
}

RedisValue* RedisReader::make(const redisReadTask* task, int type) {
  auto* const memory = static_cast<RedisReader*>(task->privdata)->memory_.get();
  auto* const value = new (memory->allocate(sizeof(RedisValue), alignof(RedisValue)))
      RedisValue{.type = type, .integer = 0, .text = {}, .elements = std::pmr::vector<RedisValue*>(memory)};
  if (task->parent != nullptr)
    static_cast<RedisValue*>(task->parent->obj)->elements[static_cast<std::size_t>(task->idx)] = value;
  return value;
}

RedisReader::RedisReader() {
  // Values are not freed one by one: they go with their memory. Destructors would give back what is gone with
  // it.
  static redisReplyObjectFunctions functions{
      .createString = [](const redisReadTask* task, char* text, size_t size) -> void* {
        auto* const value = make(task, task->type);
        auto* const copy =
            static_cast<char*>(static_cast<RedisReader*>(task->privdata)->memory_->allocate(size + 1, 1));
        std::memcpy(copy, text, size);
        value->text = {copy, size};
        return value;
      },
      .createArray = [](const redisReadTask* task, int size) -> void* {
        auto* const value = make(task, REDIS_REPLY_ARRAY);
        value->elements.resize(static_cast<std::size_t>(size));
        return value;
      },
      .createInteger = [](const redisReadTask* task, long long number) -> void* {
        auto* const value = make(task, REDIS_REPLY_INTEGER);
        value->integer = number;
        return value;
      },
      .createNil = [](const redisReadTask* task) -> void* { return make(task, REDIS_REPLY_NIL); },
      .freeObject = [](void*) {}};
  memory_ = std::make_unique<std::pmr::monotonic_buffer_resource>(first_piece);
  reader_.reset(redisReaderCreateWithFunctions(&functions));
  if (!reader_) throw std::bad_alloc();
  reader_->privdata = this;
}

std::optional<RedisReply> RedisReader::next() {
  void* root = nullptr;
  if (redisReaderGetReply(reader_.get(), &root) != REDIS_OK)
    throw Error(Exit::unavailable, "what answers does not speak Redis' protocol");
  if (root == nullptr) return std::nullopt;
  auto memory = std::exchange(memory_, std::make_unique<std::pmr::monotonic_buffer_resource>(first_piece));
  return RedisReply(std::move(memory), static_cast<const RedisValue*>(root));
}

}  // namespace stem
