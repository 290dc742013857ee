// SPDX-License-Identifier: Apache-2.0
//
// The operator attention with score programs and mask rules: golden files at every level and in double, gradients
// against differences, refusals.
#include <filesystem>

#include "core/ops/op_test.hpp"
#include "core/program/program_test.hpp"
#include "core/schema/json_text.hpp"
#include "core/weights/safetensors.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

enum Attribute { kKind, kEpsilon = 2, kScale = 7, kCausal, kOffset, kSpan, kBlock, kEmptyRows };
enum More {
  kDropout = 13,
  kTile,
  kLeft,
  kRight,
  kSoftcap,
  kStage,
  kScore = 23,
  kRule,
  kNames,
  kConstants
};
enum Port { kQuery, kKey, kValue, kKeep, kBias, kSlope, kLengths, kSinks, kOffsets, kTable0 };

Values tensor(const weights::SafetensorsFile& file, const std::string& name) {
  const Array a = file.read(name);
  const Array wide = a.astype(ATTN_F64);
  const bool real = a.dtype() == ATTN_F32 || a.dtype() == ATTN_F64;
  return {a.shape().to_vector(),
          {wide.data<double>(), wide.data<double>() + wide.size()},
          real ? 0 : static_cast<int32_t>(a.dtype())};
}

Trial golden_trial(const weights::SafetensorsFile& file, std::vector<std::string>& tables) {
  const auto& meta = file.metadata();
  const auto text = [&](const char* key) {
    const auto found = meta.find(key);
    return found == meta.end() ? std::string() : found->second;
  };
  Trial t{op_attention()};
  t.attrs.resize(kConstants + 1);
  t.in.resize(kTable0 + 8);
  t.attrs[kScore] = text("score"), t.attrs[kRule] = text("mask_rule");
  t.attrs[kScale] = std::stod(text("scale"));
  t.attrs[kOffset] = static_cast<int64_t>(std::stoll(text("offset")));
  t.attrs[kEmptyRows] = static_cast<int64_t>(text("empty_rows") == "zero" ? 1 : 0);
  if (text("probability") == "threshmax") {
    t.attrs[kKind] = int64_t{2};
    t.attrs[kEpsilon] = 1e-12;
    t.in[kSlope] = filled({1}, 10);
  }
  t.in[kQuery] = tensor(file, "input/q"), t.in[kKey] = tensor(file, "input/k");
  t.in[kValue] = tensor(file, "input/v");
  if (file.contains("input/keep")) t.in[kKeep] = tensor(file, "input/keep");
  if (file.contains("input/bias")) t.in[kBias] = tensor(file, "input/bias");
  std::string names, constants;
  const Json of_tables = schema::parse_json(text("tables"));
  for (const auto& [name, spec] : of_tables.as_object()) {
    Values v = tensor(file, "table/" + name);
    if (spec.at("shape").empty()) v.shape = {};
    t.in[kTable0 + tables.size()] = v;
    names += (names.empty() ? "" : ",") + name;
    tables.push_back(name);
  }
  const Json of_constants = schema::parse_json(text("constants"));
  for (const auto& [name, x] : of_constants.as_object())
    constants += (constants.empty() ? "" : ", ") + name + "=" + x.dump();
  t.attrs[kNames] = names, t.attrs[kConstants] = constants;
  return t;
}

// Error of a gradient as goldens/README.md measures it.
double gradient_error(const std::vector<double>& want, const std::vector<double>& got,
                      double largest) {
  return Trial::distance(want, got, 1e-3 * largest);
}

}  // namespace

TEST_CASE("score programs: golden files at every level and in double") {
  const auto folder = std::filesystem::path(ATTN_SOURCE_DIR) / "tests" / "goldens" / "score";
  int files = 0;
  const cpu::Level before = cpu::level();
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    if (item.path().extension() != ".safetensors") continue;
    const weights::SafetensorsFile file(item.path().string());
    INFO(item.path().filename().string());
    std::vector<std::string> tables;
    Trial t = golden_trial(file, tables);
    const Values o = tensor(file, "output/o"), dout = tensor(file, "cotangent/o");
    std::vector<std::pair<size_t, std::vector<double>>> want;
    const char* const inputs[] = {"grad/q", "grad/k", "grad/v", nullptr, "grad/bias"};
    for (size_t i = 0; i < 5; ++i)
      if (inputs[i] && file.contains(inputs[i])) want.emplace_back(i, tensor(file, inputs[i]).x);
    for (size_t i = 0; i < tables.size(); ++i)
      if (file.contains("grad_table/" + tables[i]))
        want.emplace_back(kTable0 + i, tensor(file, "grad_table/" + tables[i]).x);
    double largest = 0;
    for (const auto& [input, g] : want)
      for (const double x : g) largest = std::max(largest, std::abs(x));
    const std::vector<double> keep = tensor(file, "keep").x;
    for (const cpu::Level level : cpu::available()) {
      cpu::set_level(level);
      for (const int32_t dtype : {ATTN_F32, ATTN_F64}) {
        INFO(cpu::name(level) << (dtype == ATTN_F64 ? ", double" : ", float"));
        t.wanted = 1;
        const Outcome got = t.run({dtype}, &dout.x);
        CHECK(Trial::distance(o.x, got.out[0].x) <= (dtype == ATTN_F64 ? 1e-10 : 1e-5));
        for (const auto& [input, g] : want) {
          INFO("gradient of input " << input);
          CHECK(gradient_error(g, got.din[input], largest) <= (dtype == ATTN_F64 ? 1e-10 : 5e-4));
        }
        t.wanted = 3;  // with the map: no weight where no key counts
        const Outcome map = t.run({dtype});
        CHECK(Trial::distance(o.x, map.out[0].x) <= (dtype == ATTN_F64 ? 1e-10 : 1e-5));
        size_t wrong = 0;
        for (size_t i = 0; i < keep.size(); ++i)
          wrong += keep[i] == 0 && !(map.out[1].x[i] == 0) ? 1 : 0;
        CHECK(wrong == 0);
      }
    }
    cpu::set_level(before);
    ++files;
  }
  CHECK(files == 22);
}

namespace {

Values whole(const attn::ops::testing::Shape& shape, std::initializer_list<double> x,
             int32_t dtype = ATTN_I32) {
  return {shape, x, dtype};
}
Trial trial(int64_t queries = 5, int64_t keys = 7, int64_t heads = 4) {
  Trial t{op_attention()};
  t.layouts = {Layout::dense, Layout::padded};
  t.attrs.resize(kConstants + 1);
  t.attrs[kScale] = 0.5;
  t.in.resize(kTable0 + 8);
  t.in[kQuery] = uniform({2, heads, queries, 3}, -2, 2, 1);
  t.in[kKey] = uniform({2, heads / 2, keys, 3}, -2, 2, 2);
  t.in[kValue] = uniform({2, heads / 2, keys, 5}, -1, 1, 3);
  return t;
}

bool same_bits(const Outcome& a, const Outcome& b) {
  const auto same = [](const std::vector<double>& x, const std::vector<double>& y) {
    return x.size() == y.size() &&
           (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0);
  };
  for (size_t i = 0; i < a.out.size(); ++i)
    if (!same(a.out[i].x, b.out[i].x)) return false;
  for (size_t i = 0; i < a.din.size(); ++i)
    if (!same(a.din[i], b.din[i])) return false;
  return true;
}

}  // namespace

TEST_CASE("score programs: gradients, levels, threads") {
  Trial t = trial();
  SECTION("slopes") {
    t.attrs[kScore] = std::string("s - slope[h] * float(abs(q - k))");
    t.attrs[kNames] = std::string("slope");
    t.in[kTable0] = uniform({4}, 0, 1, 8);
  }
  SECTION("two tables, one of them read twice, and a cap") {
    t.attrs[kSoftcap] = 1.5;
    t.attrs[kScore] = std::string("tanh(s) * a[b, k] + a[b, q + 2] * r[q - k + 6] - exp(0.1 * s)");
    t.attrs[kNames] = std::string("a,r");
    t.in[kTable0] = uniform({2, 7}, -1, 1, 8);
    t.in[kTable0 + 1] = uniform({11}, -1, 1, 9);
  }
  SECTION("a score that does not count") {
    t.attrs[kScore] = std::string("w[h, k] * 0.5");
    t.attrs[kNames] = std::string("w");
    t.in[kTable0] = uniform({4, 7}, -1, 1, 8);
  }
  SECTION("scattered reads, with a rule, a bias and a mask") {
    t.attrs[kScore] = std::string("s + e[bucket[abs(q - k)]]");
    t.attrs[kRule] = std::string("doc[b, k] == doc[b, q] || k % 3 == 0");
    t.attrs[kNames] = std::string("e,bucket,doc");
    t.in[kTable0] = uniform({3}, -1, 1, 8);
    t.in[kTable0 + 1] = whole({7}, {0, 1, 1, 2, 2, 0, 1}, ATTN_I64);
    t.in[kTable0 + 2] = whole({2, 7}, {0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1, 1}, ATTN_U8);
    t.in[kBias] = uniform({5, 7}, -1, 1, 8);
    t.in[kKeep] = whole({2, 7}, {1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0}, ATTN_U8);
  }
  SECTION("rules of every kind of probability") {
    t.attrs[kRule] = std::string("(k + h) % 2 == q % 2 || k == P");
    t.attrs[kConstants] = std::string("P=3");
    const int64_t kind = GENERATE(0, 1, 2, 3, 4);
    t.attrs[kKind] = kind;
    if (kind == 2) t.in[kSlope] = filled({1}, 6);
    t.attrs[kScore] = std::string(GENERATE("", "s * 0.75 + float(k - q) * 0.125"));
  }
  SECTION("sinks") {
    t.attrs[kRule] = std::string("k % 2 == 0 && k <= q && q != 3");
    t.in[kSinks] = uniform({4}, -1, 1, 5);
    t.attrs[kScore] = std::string(GENERATE("", "softcap(s, 2.0)"));
  }
  SECTION("offsets of examples") {
    t.attrs[kRule] = std::string("k <= q && (q - k < 3 || k == 0)");
    t.in[kOffsets] = whole({2}, {2, -1}, ATTN_I64);
  }
  t.examine();
}

TEST_CASE("score programs: a rule that is a flag gives the bits of the flag") {
  Trial flag = trial(70, 300);
  Trial text = flag;
  SECTION("causal") {
    flag.attrs[kCausal] = true;
    text.attrs[kRule] = std::string("k <= q");
  }
  SECTION("causal with an offset") {
    flag.attrs[kCausal] = true;
    text.attrs[kRule] = std::string("not (q < k)");
    flag.attrs[kOffset] = text.attrs[kOffset] = int64_t{230};
  }
  SECTION("window") {
    flag.attrs[kLeft] = int64_t{31}, flag.attrs[kRight] = int64_t{4};
    text.attrs[kRule] = std::string("-4 <= q - k <= 31");
    flag.attrs[kOffset] = text.attrs[kOffset] = int64_t{100};
  }
  SECTION("distance") {
    flag.attrs[kLeft] = flag.attrs[kRight] = int64_t{30};
    text.attrs[kRule] = std::string("31 > abs(k - q)");
  }
  SECTION("decoding") {
    flag = text = trial(1, 700);
    flag.attrs[kLeft] = int64_t{511}, flag.attrs[kCausal] = true;
    text.attrs[kRule] = std::string("k <= q && q - k < 512");
    flag.attrs[kOffset] = text.attrs[kOffset] = int64_t{699};
  }
  const std::vector<double> dout(flag.run({}).out[0].x.size(), 0.5);
  const cpu::Level before = cpu::level();
  for (const cpu::Level level : cpu::available()) {
    cpu::set_level(level);
    INFO(cpu::name(level));
    for (const int32_t dtype : {ATTN_F32, ATTN_F64})
      CHECK(same_bits(flag.run({dtype}, &dout), text.run({dtype}, &dout)));
  }
  cpu::set_level(before);
}

// Keys that are left out of products against keys that get a weight of 0.
TEST_CASE("score programs: a rule with holes gives the bits of a mask") {
  constexpr int64_t kPositions = 168;
  Trial rule = trial(kPositions, kPositions);
  rule.layouts = {Layout::dense};
  rule.attrs[kTile] = int64_t{128};  // several blocks of keys
  rule.attrs[kEmptyRows] = int64_t{1};
  rule.attrs[kRule] = std::string(
      GENERATE("abs(q / 14 - k / 14) <= 2 && abs(q % 14 - k % 14) <= 1 && k != 100",
               "q / 16 == k / 16 || k < 3 || (q / 16 * 7 + k / 16 * 5) % 11 == 0",
               "k % 29 == 3 && q % 5 != 2", "q / 6 % 2 == 0 && k / 8 % 3 == q / 12 % 3 && k <= q"));
  SECTION("the rule alone") {}
  SECTION("a score that reads tables in every way, a cap and sinks") {
    rule.attrs[kScore] = std::string("s * a[k] + r[q - k + 167] - r[q + k] + e[k % 3] * a[q]");
    rule.attrs[kNames] = std::string("a,r,e");
    rule.in[kTable0] = uniform({kPositions}, -1, 1, 8);
    rule.in[kTable0 + 1] = uniform({2 * kPositions - 1}, -1, 1, 9);
    rule.in[kTable0 + 2] = uniform({3}, -1, 1, 4);
    rule.attrs[kSoftcap] = 1.5;
    rule.in[kSinks] = uniform({4}, -1, 1, 5);
  }
  SECTION("dropout") {
    rule.training = true;
    rule.attrs[kDropout] = 0.3;
  }
  SECTION("a mask beside it, and no numbers where no row has a key") {
    rule.in[kKeep] = filled({2, 1, 1, kPositions}, 1);
    rule.in[kKeep]->dtype = ATTN_U8;
    for (size_t j = 0; j < rule.in[kKeep]->x.size(); j += 5) rule.in[kKeep]->x[j] = 0;
    for (size_t d = 0; d < 5; ++d) rule.in[kValue]->x[5 * 5 + d] = std::nan("");  // masked
  }
  Trial mask = rule;
  mask.attrs[kRule] = std::string();
  const auto p = program::make_program(
      {.score = {}, .mask_rule = std::get<std::string>(rule.attrs[kRule]), .names = {}});
  program::Call call = program::call_of(*p);
  Values keep = filled({2, 1, kPositions, kPositions}, 1);
  keep.dtype = ATTN_U8;
  for (size_t i = 0; i < keep.x.size(); ++i) {
    const auto k = static_cast<int64_t>(i) % kPositions,
               q = static_cast<int64_t>(i) / kPositions % kPositions,
               b = static_cast<int64_t>(i) / kPositions / kPositions;
    const bool kept =
        !rule.in[kKeep] || rule.in[kKeep]->x[static_cast<size_t>(b * kPositions + k)] != 0;
    keep.x[i] = kept && program::sees<float>(call, {b, 0, q, k}) ? 1 : 0;
  }
  mask.in[kKeep] = keep;
  const cpu::Level before = cpu::level();
  for (const cpu::Level level : cpu::available()) {
    if (level == cpu::Level::reference) continue;  // knows no tiles
    cpu::set_level(level);
    INFO(cpu::name(level));
    rule.wanted = mask.wanted = 1 | 4;
    const Outcome want = mask.run({ATTN_F32}), got = rule.run({ATTN_F32});
    CHECK(same_bits(want, got));
    CHECK(same_bits(got, rule.run({ATTN_F32, Layout::dense, 5})));
    const std::vector<double> dout(got.out[0].x.size(), 0.5);
    CHECK(same_bits(mask.run({ATTN_F32}, &dout), rule.run({ATTN_F32}, &dout)));
  }
  cpu::set_level(before);
}

TEST_CASE("score programs: random ones, vectors against double") {
  const cpu::Level before = cpu::level();
  const program::test::Fixture fixture;
  int compared = 0;
  for (uint32_t seed = 0; seed < 120; ++seed) {
    program::test::Random random(seed, true);
    const int64_t queries = 1 + random.below(seed % 4 == 0 ? 3 : 20), keys = 1 + random.below(600);
    Trial t = trial(queries, keys);
    t.attrs[kScore] = seed % 3 == 0 ? std::string() : random.real(3).text;
    t.attrs[kRule] = seed % 3 == 1 ? std::string() : random.truth(3).text;
    t.attrs[kNames] = std::string("t,f");
    t.attrs[kConstants] = std::string("N=3, X=0.625");
    t.attrs[kOffset] = static_cast<int64_t>(random.below(300));
    if (seed % 5 == 0) t.attrs[kCausal] = true;
    if (seed % 7 == 0) t.in[kSinks] = uniform({4}, -1, 1, seed);
    t.in[kTable0] = Values{{3, 5}, {fixture.whole.begin(), fixture.whole.end()}, ATTN_I32};
    t.in[kTable0 + 1] = Values{{3, 5}, fixture.real};
    t.wanted = 1u | (seed % 2 == 0 ? 2u : 4u);
    INFO(seed << ": " << std::get<std::string>(t.attrs[kScore]) << " | "
              << std::get<std::string>(t.attrs[kRule]));
    try {
      (void)t.run({ATTN_F64});
    } catch (const sdk::Error&) {  // beyond 32 bits, or too many values at a time
      continue;
    }
    ++compared;
    std::vector<double> dout = uniform({2, 4, queries, 5}, -1, 1, 99).x;
    const Outcome want = t.run({ATTN_F64}, &dout);
    for (const cpu::Level level : cpu::available()) {
      cpu::set_level(level);
      INFO(cpu::name(level));
      const Outcome got = t.run({ATTN_F32}, &dout),
                    threads = t.run({ATTN_F32, Layout::dense, 5}, &dout);
      CHECK(same_bits(got, threads));
      for (size_t i = 0; i < want.out.size(); ++i)
        CHECK(Trial::distance(want.out[i].x, got.out[i].x) <= 2e-5);
      for (size_t i = 0; i < want.din.size(); ++i)
        CHECK(Trial::distance(want.din[i], got.din[i], 0.05) <= 3e-4);
    }
    cpu::set_level(before);
  }
  CHECK(compared > 80);
}

TEST_CASE("score programs: refused by the operator") {
  Trial t = trial();
  t.attrs[kRule] = std::string("doc[b, q] == doc[b, k]");
  t.attrs[kNames] = std::string("doc");
  CHECK_THAT(t.refusal(), Catch::Contains("names 1 tensors and gets 0"));
  t.in[kTable0] = whole({2, 5}, {0, 0, 1, 1, 1, 0, 0, 0, 1, 1});
  CHECK_THAT(t.refusal(), Catch::Contains("mask_rule:1:21: index 2 of 'doc' ranges over [0, 6]"));
  t.in[kTable0] = uniform({2, 7}, 0, 1, 1);
  CHECK(t.refusal().empty());
  t.in[kTable0] =
      whole({2, 7, 1}, std::initializer_list<double>{0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0});
  CHECK_THAT(t.refusal(), Catch::Contains("'doc' has 3 axes and is read with 2 indices"));
  t.in[kTable0 + 1] = t.in[kTable0];
  t.in[kTable0].reset();
  CHECK_THAT(t.refusal(), Catch::Contains("table0 is missing and table1 is there"));
  t.in[kTable0 + 1] = whole({1}, {3000000000.0}, ATTN_I64), t.in[kTable0] = t.in[kTable0 + 1];
  t.attrs[kNames] = std::string("doc,other");
  t.attrs[kRule] = std::string("doc[0] == other[0]");
  CHECK_THAT(t.refusal(), Catch::Contains("'doc' holds 3000000000"));
  t.attrs[kRule] = std::string();
  CHECK_THAT(t.refusal(), Catch::Contains("tables without a score program"));
  t.in[kTable0].reset(), t.in[kTable0 + 1].reset();
  t.attrs[kNames] = t.attrs[kConstants] = std::string();
  t.attrs[kRule] = std::string("k % N == 0");
  t.attrs[kConstants] = std::string("N=4x");
  CHECK_THAT(t.refusal(), Catch::Contains("constant 'N=4x' of a score program"));
  t.attrs[kConstants] = std::string("softcap=4");
  CHECK_THAT(t.refusal(), Catch::Contains("has a name of the language"));
}
