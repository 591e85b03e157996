#include <algorithm>
#include <cstdint>
#include <stem/envelope.hpp>
#include <stem/error.hpp>
#include <utility>
#include <vector>

#include "core/envelope_field.hpp"
#include "core/json_depth.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

[[noreturn]] void malformed(const std::string& why) {
  throw Error(Exit::data, "malformed envelope: " + why);
}

/// A JSON value, from the events of a parser.
class JsonTree {
 public:
  explicit JsonTree(Json& root) : root_(root) {}

  void key(std::string& name) { slot_ = &(*open_.back())[std::move(name)]; }
  void scalar(Json&& value) { place(std::move(value)); }
  void start(Json&& container) { open_.push_back(&place(std::move(container))); }
  void end() { open_.pop_back(); }
  bool is_whole() const { return open_.empty(); }

 private:
  Json& place(Json&& value) {
    if (open_.empty()) return root_ = std::move(value);
    auto& parent = *open_.back();
    if (!parent.is_array()) return *slot_ = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }

  Json& root_;
  Json* slot_ = nullptr;
  std::vector<Json*> open_;  // containers do not move while one inside them is open
};

/// Takes an envelope out of the events of nlohmann-json's parser. A third of the cost of a tree of the whole
/// text, of which only `args` and `meta` are wanted as trees.
class EnvelopeReader {
 public:
  Envelope read(std::string_view wire) {
    if (!Json::sax_parse(wire, this)) malformed("it is not JSON");
    if (envelope_.id.empty()) malformed("'id' is missing");
    if (envelope_.name.empty()) malformed("'name' is missing");
    if (!has_args_) malformed("'args' is missing");
    return std::move(envelope_);
  }

  bool null() { return tree_ ? tree_->scalar(nullptr), true : in_headers() ? bad_header() : is_inside(); }
  bool boolean(bool value) { return tree_ ? tree_->scalar(value), true : wrong(); }
  bool number_integer(Json::number_integer_t value) {
    return tree_ ? tree_->scalar(value), true : integer(value);
  }
  bool number_unsigned(Json::number_unsigned_t value) {
    return tree_ ? tree_->scalar(value),
           true  : integer(static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX)));
  }
  bool number_float(Json::number_float_t value, const std::string&) {
    return tree_ ? tree_->scalar(value), true : wrong();
  }
  bool binary(Json::binary_t&) { return wrong(); }

  bool string(std::string& value) {
    if (tree_) return tree_->scalar(std::move(value)), true;
    if (in_headers()) return envelope_.headers[header_] = std::move(value), true;
    if (depth_ != 1) return is_inside();
    switch (key_) {
      case Key::id:
        envelope_.id = std::move(value);
        break;
      case Key::name:
        envelope_.name = std::move(value);
        break;
      case Key::queue:
        envelope_.queue = std::move(value);
        break;
      case Key::enqueued_at:
        envelope_.enqueued_at = parse_time(value);
        break;
      case Key::not_before:
        envelope_.not_before = parse_time(value);
        break;
      default:
        return wrong();
    }
    return true;
  }

  bool key(std::string& name) {
    if (tree_) return tree_->key(name), true;
    if (in_headers()) return header_ = std::move(name), true;
    if (depth_ == 1) key_ = key_called(name);
    return true;
  }

  bool start_object(std::size_t) {
    deeper();
    if (tree_) return tree_->start(Json::object()), true;
    if (depth_ != 2)
      return in_headers() ? bad_header() : true;  // the envelope itself, or what nobody asks for
    if (key_ == Key::args || key_ == Key::meta) {
      has_args_ |= key_ == Key::args;
      tree_.emplace(key_ == Key::args ? envelope_.args : envelope_.meta).start(Json::object());
    } else if (key_ != Key::headers && key_ != other) {
      wrong_type();
    }
    return true;
  }
  bool end_object() { return end(); }

  bool start_array(std::size_t) {
    if (depth_ == 0) malformed("it is not a JSON object");
    if (!tree_) wrong();
    deeper();
    if (tree_) tree_->start(Json::array());
    return true;
  }
  bool end_array() { return end(); }

  bool parse_error(std::size_t, const std::string&, const Json::exception&) { return false; }

 private:
  using Key = EnvelopeField;
  static constexpr auto other = static_cast<Key>(envelope_field_names.size());
  /// In the order of Key.
  static constexpr std::array<const char*, envelope_field_names.size()> types{
      "a string",   "a string",   "an object",  "an object",  "an ISO 8601 time", "an ISO 8601 time",
      "an integer", "an integer", "an integer", "an integer", "a string",         "an object"};

  static Key key_called(std::string_view name) {
    const auto found = std::find(envelope_field_names.begin(), envelope_field_names.end(), name);
    return static_cast<Key>(found - envelope_field_names.begin());
  }

  bool in_headers() const { return depth_ >= 2 && key_ == Key::headers; }

  bool is_inside() const {
    if (depth_ == 0) malformed("it is not a JSON object");
    return true;
  }

  [[noreturn]] void wrong_type() const {
    malformed("'" + std::string(name_of(key_)) + "' must be " + types[static_cast<std::size_t>(key_)]);
  }
  [[noreturn]] bool bad_header() const { malformed("header '" + printable(header_) + "' must be a string"); }
  /// A value of a type that no key outside of trees takes.
  bool wrong() const {
    if (in_headers()) bad_header();
    if (depth_ == 1 && key_ != other) wrong_type();
    return is_inside();
  }

  bool integer(std::int64_t value) {
    const auto within = [&](std::int64_t low, std::int64_t high) {
      if (value < low || value > high) malformed("'" + std::string(name_of(key_)) + "' is out of range");
      return static_cast<int>(value);
    };
    if (depth_ != 1) return wrong();
    switch (key_) {
      case Key::priority:
        envelope_.priority = std::clamp(within(INT32_MIN, INT32_MAX), 0, 9);
        break;
      case Key::attempt:
        envelope_.attempt = within(0, INT32_MAX);
        break;
      case Key::max_retries:
        envelope_.max_retries = within(0, INT32_MAX);
        break;
      case Key::visibility_timeout:
        within(0, std::int64_t{1} << 50);
        envelope_.visibility_timeout = std::chrono::milliseconds{value};
        break;
      default:
        return wrong();
    }
    return true;
  }

  void deeper() {
    if (++depth_ > 1 + deepest_json)  // what it holds, and the envelope itself
      malformed("it is nested deeper than " + std::to_string(deepest_json) + " levels");
  }
  bool end() {
    --depth_;
    if (!tree_) return true;
    tree_->end();
    if (tree_->is_whole()) tree_.reset();
    return true;
  }

  Envelope envelope_;
  std::optional<JsonTree> tree_;  // of the arguments or the meta, while they are read
  std::string header_;
  Key key_ = other;
  int depth_ = 0;
  bool has_args_ = false;
};

}  // namespace

Envelope envelope_from_wire(std::string_view wire) {
  return EnvelopeReader().read(wire);
}

}  // namespace stem
