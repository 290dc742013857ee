// SPDX-License-Identifier: Apache-2.0
//
// Random layers of every type that is loaded. Environment:
//   ATTN_PROPERTY_SEED   another run (default 1)
//   ATTN_PROPERTY_COUNT  number of cases over all types (default 2300); coverage is required from 2300 on
//   ATTN_PROPERTY_ONLY   TYPE or TYPE:NUMBER: those cases alone, printed
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "tests/oracle/problem.hpp"
#include "tests/properties/coverage.hpp"
#include "tests/properties/own.hpp"

using namespace attn;
using namespace attn::properties;

namespace {

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

struct Outcome {
  CaseId id{};
  Marks marks{};
  std::vector<std::string> failures{};
  std::string text{};
  double seconds = 0;
};

void tried(Trial& t, const char* what, bool says) {
  if (says) t.marks.insert(what + t.c.id.type);
}

// Whose gradients were checked.
void mark_gradients(Trial& t) {
  if (!t.marks.contains("gradient " + t.c.id.type) || !t.failures.empty()) return;
  if (adds_mask(t.c)) t.marks.insert("gradient of an added mask");
  for (const auto& [name, table] : t.c.problem.tables)
    if (!table.integral) t.marks.insert("gradient of a table of the call");
  const Marks marks = t.marks;
  for (const std::string& m : marks) {
    const size_t value = m.find('=');
    if (m.starts_with("norm ") || m.starts_with("probability ") || m.starts_with("activation "))
      t.marks.insert("gradient of " + m.substr(0, m.find(' ')) + m.substr(value));
    if (m.starts_with("rank ") && m.find("mask=") != std::string::npos)
      t.marks.insert("gradient of mask" + m.substr(value));
  }
}

Outcome try_case(const CaseId& id) {
  Outcome out{.id = id};
  const auto begin = std::chrono::steady_clock::now();
  Trial t;
  try {
    t.c = make_case(id);
    mark_config(id.type, t.c.problem.config, t.marks);
    mark_call(t.c, t.marks);
    out.text = told(t.c);
    prepare(t);
    check_forward(t);
    check_single(t);
    tried(t, "batch ", check_batch(t));
    // Each of the three, until one finds something.
    bool masked = false;
    for (const auto check : {check_mask_nan, check_mask_infinity, check_mask_numbers})
      if (t.failures.empty()) masked = check(t) || masked;
    tried(t, "unused keys ", masked);
    check_mask_gradients(t);
    if (t.layer64->has_state()) t.marks.insert("state " + id.type);
    tried(t, "decode ", check_decode(t));
    if (id.number % 4 == 0) tried(t, "file ", check_file(t));
    tried(t, "dropout ", check_dropout(t));
    check_penalties(t);
    tried(t, "gradient ", check_gradients(t));
    mark_gradients(t);
  } catch (const std::exception& e) {
    t.fail(std::string("exception: ") + e.what());
  }
  out.marks = std::move(t.marks);
  out.failures = std::move(t.failures);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

std::vector<CaseId> chosen_cases(uint64_t seed, uint64_t count, const std::string& only) {
  std::vector<CaseId> out;
  const std::vector<std::string> types = list_attention_types();
  const uint64_t each = (count + types.size() - 1) / types.size();
  for (const std::string& type : types) {
    if (!oracle::knows(type)) continue;
    for (uint64_t n = 0; n < each; ++n) {
      const CaseId id{seed, type, n};
      if (only.empty() || only == type || only == id.text()) out.push_back(id);
    }
  }
  return out;
}

// What chance left out of configs and calls is looked for in further cases: those that have some of it.
std::vector<CaseId> further_cases(uint64_t seed, Marks missing, const Marks& seen) {
  constexpr uint64_t kFirst = 100000, kMost = 200;  // of each type
  std::vector<CaseId> out;
  // "parameter vit.max_distance", or "option activation.elu.alpha" where the type has an activation.
  const auto concerns = [&](const std::string& type, const std::string& mark) {
    if (mark.find(" " + type + ".") != std::string::npos) return true;
    if (!mark.starts_with("option ")) return false;
    const std::string family = mark.substr(7, mark.find('.') - 7) + " " + type;
    const auto at = seen.lower_bound(family);
    return at != seen.end() && at->starts_with(family);
  };
  for (const std::string& type : list_attention_types())
    for (uint64_t n = kFirst; oracle::knows(type) && n < kFirst + kMost; ++n) {
      if (std::none_of(missing.begin(), missing.end(),
                       [&](const std::string& m) { return concerns(type, m); }))
        break;
      const CaseId id{seed, type, n};
      Marks marks;
      const auto c = make_case(id);
      mark_config(type, c.problem.config, marks);
      mark_call(c, marks);
      if (std::erase_if(missing, [&](const std::string& m) { return marks.contains(m); }) > 0)
        out.push_back(id);
    }
  return out;
}

std::vector<Outcome> try_all(const std::vector<CaseId>& cases) {
  std::vector<Outcome> outcomes(cases.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next++) < cases.size();) outcomes[i] = try_case(cases[i]);
  };
  std::vector<std::thread> threads;
  for (unsigned n = std::min(4u, std::thread::hardware_concurrency()); n > 1; --n)
    threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  return outcomes;
}

}  // namespace

// "norm gated.qk_norm_type=rms_norm" without the place: which of them had their gradients checked somewhere.
Marks expected_gradients(const Marks& expected) {
  Marks out;
  for (const std::string& mark : expected) {
    const size_t value = mark.find('=');
    if (mark.starts_with("norm ") || mark.starts_with("probability ") ||
        mark.starts_with("activation "))
      out.insert("gradient of " + mark.substr(0, mark.find(' ')) + mark.substr(value));
    if (mark.starts_with("rank ") && mark.find("mask=") != std::string::npos)
      out.insert("gradient of mask" + mark.substr(value));
  }
  return out;
}

TEST_CASE("properties of random layers") {
  set_log_sink([](LogLevel, std::string_view) {});
  const uint64_t seed = std::stoull(environment("ATTN_PROPERTY_SEED", "1"));
  const uint64_t count = std::stoull(environment("ATTN_PROPERTY_COUNT", "2300"));
  const std::string only = environment("ATTN_PROPERTY_ONLY", "");
  const auto cases = chosen_cases(seed, count, only);
  auto outcomes = try_all(cases);
  Marks seen;
  for (const Outcome& o : outcomes) seen.insert(o.marks.begin(), o.marks.end());
  const bool all = only.empty() && count >= 2300;
  Marks expected = expected_options(list_attention_types());
  for (const std::string& type : list_attention_types())
    if (oracle::knows(type)) expected.merge(expected_marks(type));
  if (all) {
    Marks missing = expected;
    std::erase_if(missing, [&](const std::string& m) { return seen.contains(m); });
    for (Outcome& o : try_all(further_cases(seed, missing, seen))) outcomes.push_back(std::move(o));
  }

  std::map<std::string, double> seconds;
  size_t failed = 0;
  for (const Outcome& o : outcomes) {
    seen.insert(o.marks.begin(), o.marks.end());
    seconds[o.id.type] += o.seconds;
    if (o.failures.empty()) continue;
    for (const std::string& f : o.failures) std::printf("%s: %s\n", o.id.text().c_str(), f.c_str());
    if (++failed > 20) continue;
    std::string text = "ATTN_PROPERTY_SEED=" + std::to_string(o.id.seed) +
                       " ATTN_PROPERTY_ONLY=" + o.id.text() + "\n  " + o.text;
    for (const std::string& f : o.failures) text += "\n  " + f;
    UNSCOPED_INFO(text);
  }
  for (const auto& [type, s] : seconds) std::printf("%-24s %.2f s\n", type.c_str(), s);
  std::printf("%zu cases, %zu failed\n", outcomes.size(), failed);
  CHECK(failed == 0);
  if (!all) return;
  expected.merge(expected_gradients(expected));
  for (const std::string& mark : seen)
    if (mark.starts_with("state ")) expected.insert("decode" + mark.substr(5));
  const auto gradients = std::count_if(outcomes.begin(), outcomes.end(), [](const Outcome& o) {
    return o.marks.contains("gradient " + o.id.type);
  });
  std::printf("gradients of %td cases\n", gradients);
  CHECK(gradients >= 300);
  const auto chaotic = std::count_if(seen.begin(), seen.end(), [](const std::string& mark) {
    return mark.starts_with("chaotic ");
  });
  std::printf("%td cases too sensitive to compare\n", chaotic);
  CHECK(static_cast<size_t>(chaotic) * 50 < outcomes.size());
  size_t missing = 0;
  for (const std::string& mark : expected)
    if (!seen.contains(mark)) UNSCOPED_INFO("not covered: " << mark), ++missing;
  std::printf("coverage: %zu of %zu\n", expected.size() - missing, expected.size());
  CHECK(missing == 0);
}
