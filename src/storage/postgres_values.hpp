#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/postgres_library.hpp"

namespace stem {

/// Numbers are sent most significant byte first.
template <class Number>
void append_number(std::string& out, Number number) {
  for (int shift = static_cast<int>(sizeof number) * 8; shift > 0;) {
    shift -= 8;
    out += static_cast<char>(number >> shift);
  }
}

/// An array in PostgreSQL's binary format: of bigint, text or bytea.
class PostgresArray {
 public:
  enum class Of : std::uint32_t { bytea = 17, bigint = 20, text = 25 };

  explicit PostgresArray(Of type) : type_(type) {}
  static PostgresArray numbers() { return PostgresArray(Of::bigint); }
  static PostgresArray texts(std::span<const std::string> values = {}) {
    PostgresArray array(Of::text);
    for (const auto& value : values) array.add(value);
    return array;
  }
  PostgresArray& add(std::int64_t number) {
    append_number(items_, std::int32_t{8});
    append_number(items_, number);
    ++count_;
    return *this;
  }
  PostgresArray& add(std::string_view text) {
    append_number(items_, static_cast<std::int32_t>(text.size()));
    items_ += text;
    ++count_;
    return *this;
  }
  PostgresArray& add_null() {
    append_number(items_, std::int32_t{-1});
    ++count_;
    ++nulls_;
    return *this;
  }
  template <class Value>
  PostgresArray& add(const std::optional<Value>& value) {
    return value ? add(*value) : add_null();
  }
  std::size_t size() const { return static_cast<std::size_t>(count_); }
  std::string bytes() const {
    std::string bytes;
    append_number(bytes, std::int32_t{count_ > 0});  // dimensions
    append_number(bytes, std::int32_t{nulls_ > 0});
    append_number(bytes, static_cast<std::uint32_t>(type_));
    if (count_ > 0) {
      append_number(bytes, count_);
      append_number(bytes, std::int32_t{1});  // the first subscript
    }
    return bytes + items_;
  }

 private:
  const Of type_;
  std::string items_;
  std::int32_t count_ = 0, nulls_ = 0;
};

/// What a statement is called with, in binary.
class PostgresParameters {
 public:
  PostgresParameters& add(std::int64_t number) {
    std::string bytes;
    append_number(bytes, number);
    values_.push_back(std::move(bytes));
    return *this;
  }
  PostgresParameters& add(std::string_view text) {
    values_.emplace_back(text);
    return *this;
  }
  PostgresParameters& add(const PostgresArray& array) {
    values_.push_back(array.bytes());
    return *this;
  }
  const std::vector<std::string>& values() const { return values_; }

 private:
  std::vector<std::string> values_;
};

/// The rows that a statement gave, in binary.
class PostgresRows {
 public:
  explicit PostgresRows(PGresult* result) : result_(result) {}
  PostgresRows(PostgresRows&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
  PostgresRows& operator=(PostgresRows&& other) noexcept {
    std::swap(result_, other.result_);
    return *this;
  }
  ~PostgresRows() {
    if (result_ != nullptr) postgres_library().PQclear(result_);
  }

  PGresult* get() const { return result_; }
  int count() const { return postgres_library().PQntuples(result_); }
  bool is_null(int row, int column) const {
    return postgres_library().PQgetisnull(result_, row, column) != 0;
  }
  /// A bigint.
  std::int64_t number(int row, int column) const { return big_endian(text(row, column)); }
  std::optional<std::int64_t> maybe(int row, int column) const {
    return is_null(row, column) ? std::nullopt : std::optional(number(row, column));
  }
  std::string_view text(int row, int column) const {
    return {postgres_library().PQgetvalue(result_, row, column),
            static_cast<std::size_t>(postgres_library().PQgetlength(result_, row, column))};
  }
  /// A bigint[] without nulls.
  std::vector<std::int64_t> numbers(int row, int column) const {
    std::vector<std::int64_t> numbers;
    auto bytes = text(row, column);
    for (bytes.remove_prefix(std::min<std::size_t>(bytes.size(), 20)); bytes.size() >= 12;
         bytes.remove_prefix(12))
      numbers.push_back(big_endian(bytes.substr(4, 8)));
    return numbers;
  }

 private:
  static std::int64_t big_endian(std::string_view bytes) {
    std::uint64_t number = 0;
    for (const char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
    return static_cast<std::int64_t>(number);
  }

  PGresult* result_;
};

}  // namespace stem
