// SPDX-License-Identifier: Apache-2.0
#include "host/cli/observe.hpp"

#include <attn/error.hpp>

#include <algorithm>
#include <charconv>
#include <optional>

#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

std::optional<int64_t> whole(std::string_view text) {
  int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0) return std::nullopt;
  return n;
}

std::optional<Range> range(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    const auto n = whole(text);
    return n ? std::optional(Range{*n, 1}) : std::nullopt;
  }
  const std::string_view begin = text.substr(0, colon), end = text.substr(colon + 1);
  const auto first = begin.empty() ? 0 : whole(begin);
  if (!first) return std::nullopt;
  if (end.empty()) return Range{*first, 0};
  const auto limit = whole(end);
  if (!limit || *limit <= *first) return std::nullopt;
  return Range{*first, *limit - *first};
}

}  // namespace

Range parse_range(const std::string& option, const std::string& of, const std::string& given) {
  if (const auto r = range(given)) return *r;
  throw InvalidArgument(
      option + ": '" + given + "' is no range of " + of + "; expected N, or BEGIN:END",
      {.where = option, .value = given});
}

void add_observe_options(CLI::App& app, ObserveOptions& o) {
  auto* observe =
      app.add_option("--observe", o.names,
                     "Also what the call tells of itself: row_max, lse, entropy, "
                     "column_mass, distances, top_keys, top_weights, map, what the type "
                     "has of its own, or all (but map); repeatable")
          ->type_name("NAME")
          ->delimiter(',')
          ->allow_extra_args(false);
  app.add_option("--observe-to", o.file, "safetensors file for it")
      ->type_name("FILE")
      ->needs(observe);
  app.add_option("--observe-part", o.parts,
                 "heads, queries or keys of the map, as heads=2 or keys=0:128; repeatable")
      ->type_name("AXIS=RANGE")
      ->needs(observe)
      ->allow_extra_args(false);
  app.add_option("--top", o.top, "Keys of each query in top_keys and top_weights (default 8)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->needs(observe);
}

Observe parse_observe(const ObserveOptions& o) {
  Observe out;
  out.names = o.names;
  out.top = o.top;
  for (const std::string& given : o.parts) {
    const NameAndText part = split_assignment("--observe-part", given, "AXIS=RANGE");
    const Range r = parse_range("--observe-part", part.name, part.text);
    if (part.name == "heads") {
      out.head = r.first, out.heads = r.count;
    } else if (part.name == "queries") {
      out.query = r.first, out.queries = r.count;
    } else if (part.name == "keys") {
      out.key = r.first, out.keys = r.count;
    } else {
      throw InvalidArgument(
          "--observe-part: a map has no '" + part.name + "'; expected heads, queries or keys",
          {.where = "--observe-part", .parameter = part.name});
    }
  }
  if (!o.file.empty() && !o.file.ends_with(".safetensors"))
    throw InvalidArgument("--observe-to: '" + o.file + "' must end in .safetensors",
                          {.where = "--observe-to", .value = o.file});
  return out;
}

std::vector<NamedOutput> observed_tensors(Context& ctx) {
  std::vector<NamedOutput> out;
  for (Observed& o : ctx.take_observed())
    out.push_back({o.label.empty() ? o.name : o.label + "." + o.name, std::move(o.value)});
  return out;
}

}  // namespace attn::cli
