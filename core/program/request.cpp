// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <mutex>
#include <shared_mutex>

#include "core/error/error.hpp"
#include "core/program/program.hpp"
#include "core/threads/fork.hpp"

namespace attn::program {
namespace {

std::string_view trimmed(std::string_view x) {
  while (!x.empty() && x.front() == ' ') x.remove_prefix(1);
  while (!x.empty() && x.back() == ' ') x.remove_suffix(1);
  return x;
}

// f(item) for each item of a list with commas; an empty list has none.
template <class F>
void each_item(std::string_view list, F&& f) {
  if (trimmed(list).empty()) return;
  for (;;) {
    const size_t comma = list.find(',');
    f(trimmed(list.substr(0, comma)));
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

Name read_constant(std::string_view item) {
  const auto wrong = [&](const char* expected) {
    throw InvalidArgument("constant '" + std::string(item.substr(0, 80)) +
                          "' of a score program; expected " + expected);
  };
  const size_t equal = item.find('=');
  if (equal == std::string_view::npos) wrong("name=number");
  Name n;
  n.name = trimmed(item.substr(0, equal));
  const std::string_view x = trimmed(item.substr(equal + 1));
  const char *first = x.data(), *last = first + x.size();
  if (x.find_first_of(".eEin") == std::string_view::npos) {
    n.type = Type::whole;
    const auto r = std::from_chars(first, last, n.whole);
    if (r.ec != std::errc() || r.ptr != last || n.whole > kMostWhole || n.whole < -kMostWhole)
      wrong("a whole number within 32 bits, or a real one with a point");
  } else {
    const auto r = std::from_chars(first, last, n.real);
    if (r.ec != std::errc() || r.ptr != last || std::isnan(n.real)) wrong("a number");
  }
  return n;
}

// What is remembered of a request.
struct Known {
  std::string score, mask_rule, names, constants;
  int tables;
  Type types[kMostTables];
  int ranks[kMostTables];
  std::shared_ptr<const Program> program;

  [[nodiscard]] bool is(const Request& r) const {
    bool same = score == r.score && mask_rule == r.mask_rule && names == r.names &&
                constants == r.constants && tables == r.tables;
    for (int i = 0; i < tables && same; ++i)
      same = types[i] == r.types[i] && ranks[i] == r.ranks[i];
    return same;
  }
};

}  // namespace

Source read_request(const Request& r) {
  Source s{.score = r.score, .mask_rule = r.mask_rule, .names = {}};
  each_item(r.names, [&](std::string_view item) {
    Name n;
    n.name = trimmed(item.substr(0, item.find(':')));  // extents.hpp has what may follow
    n.table = static_cast<int>(s.names.size());
    if (n.table < kMostTables) n.type = r.types[n.table], n.rank = r.ranks[n.table];
    s.names.push_back(n);
  });
  if (static_cast<int>(s.names.size()) != r.tables)
    throw InvalidArgument("a score program names " + std::to_string(s.names.size()) +
                          " tensors and gets " + std::to_string(r.tables) +
                          "; expected as many, table0 on");
  each_item(r.constants, [&](std::string_view item) { s.names.push_back(read_constant(item)); });
  return s;
}

std::shared_ptr<const Program> find_program(const Request& r) {
  constexpr size_t kRemembered = 64;
  static threads::SharedMutex mutex;
  static std::vector<Known> all;
  {
    const std::shared_lock lock(mutex);
    for (const Known& k : all)
      if (k.is(r)) return k.program;
  }
  Known made{std::string(r.score),
             std::string(r.mask_rule),
             std::string(r.names),
             std::string(r.constants),
             r.tables,
             {},
             {},
             make_program(read_request(r))};
  std::copy(std::begin(r.types), std::end(r.types), made.types);
  std::copy(std::begin(r.ranks), std::end(r.ranks), made.ranks);
  const std::unique_lock lock(mutex);
  if (all.size() == kRemembered) all.erase(all.begin());
  all.push_back(std::move(made));
  return all.back().program;
}

}  // namespace attn::program
