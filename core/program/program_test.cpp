// SPDX-License-Identifier: Apache-2.0
//
// Score programs: what is refused and how it is said, random programs against a second meaning of theirs, intervals and
// bounds against all points, derivatives against differences.
#include "core/program/program_test.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "core/error/error.hpp"

using namespace attn;
using namespace attn::program;
using namespace attn::program::test;

namespace {

std::string refusal(const Source& source) {
  try {
    (void)make_program(source);
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}
Name table(const char* name, int rank, Type type = Type::real, int number = 0) {
  Name n;
  n.name = name, n.rank = rank, n.type = type, n.table = number;
  return n;
}
std::string of_score(const char* text, std::vector<Name> names = {}) {
  return refusal({.score = text, .mask_rule = {}, .names = std::move(names)});
}
std::string of_rule(const char* text, std::vector<Name> names = {}) {
  return refusal({.score = {}, .mask_rule = text, .names = std::move(names)});
}
bool starts(const std::string& text, const std::string& with) {
  INFO(text);
  CHECK(text.substr(0, with.size()) == with);
  return text.substr(0, with.size()) == with;
}

// A table of zeros, or of a shape alone.
Table zeros(const Name& n, const std::vector<int64_t>& shape, std::vector<int32_t>& memory) {
  Table t;
  t.rank = static_cast<int>(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i])
    t.shape[i] = shape[i], t.stride[i] = stride;
  memory.assign(static_cast<size_t>(t.size() + 2 * t.rows() * t.count_runs()), 0);
  t.data = memory.data();
  if (n.type == Type::whole)
    t.find_extremes(memory.data() + t.size(), memory.data() + t.size() + t.rows() * t.count_runs());
  return t;
}
Box whole_box(const Call& c, int64_t offset = 0) {
  return {{0, c.extents[0] - 1},
          {0, c.extents[1] - 1},
          {offset, offset + c.extents[2] - 1},
          {0, c.extents[3] - 1}};
}
std::string call_refusal(const Source& source, const std::vector<std::vector<int64_t>>& shapes,
                         int64_t offset = 0) {
  const auto p = make_program(source);
  Call c = call_of(*p);
  c.extents[0] = 2, c.extents[1] = 4, c.extents[2] = 37, c.extents[3] = 53;
  std::vector<std::vector<int32_t>> memory(shapes.size());
  for (size_t i = 0; i < shapes.size(); ++i)
    c.table[i] = zeros(source.names[i], shapes[i], memory[i]);
  try {
    prove(c, whole_box(c, offset));
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("program: what a text is refused for, and where") {
  CHECK(starts(of_score("s + (q - k) / 8"),
               "score:1:5: the quotient of two whole numbers drops its rest"));
  CHECK(starts(of_score("s - slope[h]", {table("slope", 2)}),
               "score:1:5: 'slope' has 2 axes and is read with 1 index; expected 2"));
  CHECK(starts(of_rule("k <= q & q - k < 4"), "mask_rule:1:8: '&' is no operator; expected '&&'"));
  CHECK(starts(of_rule("k - q"), "mask_rule:1:1: a whole number is used as a condition"));
  CHECK(starts(of_score("k <= q"), "score:1:1: a truth value is used as a number"));
  CHECK(starts(of_rule("s > 0.0"), "mask_rule:1:1: a mask rule cannot read the score"));
  CHECK(starts(of_rule("0 < k > 3"), "mask_rule:1:7: this chain of comparisons has no direction"));
  CHECK(starts(of_score("s * alfa", {table("alpha", 0)}),
               "score:1:5: 'alfa' is unknown; expected a variable, a function or one of alpha; did "
               "you mean 'alpha'?"));
  CHECK(starts(of_score("s ** 2"), "score:1:3: '**' is no operator"));
  CHECK(starts(of_rule("k = q"), "mask_rule:1:3: '=' assigns; expected '=='"));
  CHECK(starts(of_score("(s + 1"), "score:1:7: '(' is not closed"));
  CHECK(starts(of_score("s + bias[s]", {table("bias", 1)}),
               "score:1:10: an index must be a whole number"));
  CHECK(starts(of_score("softcap(s)"), "score:1:1: 'softcap' has 1 argument; expected 2"));
  CHECK(starts(of_rule("k % 0 == 0"), "mask_rule:1:5: the divisor is 0; expected at least 1"));
  CHECK(starts(of_score("s +\n  * 2"), "score:2:3: '*' is out of place"));
  CHECK(starts(of_score("s + t", {table("t", 1)}),
               "score:1:5: 't' has 1 axis and is read with 0 indices"));
  CHECK(starts(of_score("2 s"), "score:1:3: 's' is out of place"));
  CHECK(starts(of_score("2s"), "score:1:2: a number is followed by 's'"));
  CHECK(starts(of_score("s + 3000000000"), "score:1:5: a whole number has at most 32 bits"));
  CHECK(starts(of_score("s + 1e999"), "score:1:5: the number is out of range"));
  CHECK(starts(of_score("s + \xc3\xa4"), "score:1:5: a byte that is no ASCII sign"));
  CHECK(starts(of_score("min(s, k / 2)"), "score:1:8: the quotient of two whole numbers"));
  CHECK(starts(of_rule("min(k, 2.0) // 2 == 0"),
               "mask_rule:1:1: a real number has no whole quotient"));
  CHECK(starts(of_score(""), ""));  // none
  CHECK(starts(of_score(" "), "score:1:2: the text ends too early"));
  CHECK(refusal({.score = "s", .mask_rule = {}, .names = {table("softcap", 0)}})
            .find("has a name of the language") != std::string::npos);
  CHECK(refusal({.score = "s", .mask_rule = {}, .names = {table("a b", 0)}})
            .find("has no name of letters") != std::string::npos);
  const std::string text = of_score("s + 1 +\n  alfa * 2");
  CHECK(text.find("\n      alfa * 2\n      ^") != std::string::npos);
  CHECK(of_rule("k / 8 == q / 8 && k % 2 != (q / 3) % 2").empty());
  CHECK(of_score("s + float(q // 8) * .5 + 5. - 1e-3 + (not k < q ? 1 : q // 2)").empty());
  CHECK(of_score("s + (q < k ? k / 2 : 0) * 0.5").find("score:1:14: the quotient") == 0);
}

TEST_CASE("program: limits of a text") {
  CHECK(starts(of_score(std::string(5000, ' ').c_str()), "score:1:4097: the text has 5000 bytes"));
  CHECK(starts(of_score((std::string(100, '(') + "s" + std::string(100, ')')).c_str()),
               "score:1:65: the text is nested too deeply"));
  CHECK(starts(of_score((std::string(100, '-') + "s").c_str()),
               "score:1:64: the text is nested too deeply"));
  std::string sum = "s";
  for (int i = 0; i < 600; ++i) sum += "+" + std::to_string(i) + ".";
  CHECK(starts(of_score(sum.c_str()), "score:1:1: the text has too many operations"));
  std::string wide = "s";  // lines that are needed together
  for (int i = 1; i < 40; ++i) wide = "max(" + wide + "*" + std::to_string(i) + ".,s)";
  CHECK(of_score(wide.c_str()).size() < 600);
}

TEST_CASE("program: conditions that bound the keys of a row") {
  const auto limits = [](const char* rule) {
    return make_program({.score = {}, .mask_rule = rule, .names = {}})->limits.size();
  };
  CHECK(limits("k <= q && q - k < 4") == 2);
  CHECK(limits("abs(q - k) <= 3") == 2);
  CHECK(limits("q > 2 && q / 2 > abs(k - q + 1)") == 3);
  CHECK(limits("abs(q % 4 - k % 4) <= 3") == 0);
  CHECK(limits("abs(q - k) >= 3") == 0);
}

TEST_CASE("program: the refusals of the golden folder") {
  std::ifstream file(std::string(ATTN_SOURCE_DIR) + "/tests/goldens/score/refused.json");
  std::stringstream all;
  all << file.rdbuf();
  const std::string json = all.str();
  CHECK(json.find("\"reason\": \"a whole number may leave 32 bits\"") != std::string::npos);
  // Those of a call; the others are above, word for word.
  const Source index{.score = "s + rel1[q - k]", .mask_rule = {}, .names = {table("rel1", 1)}};
  CHECK(starts(call_refusal(index, {{53}}),
               "score:1:10: index 1 of 'rel1' ranges over [-52, 36]; expected 0 to 52; write "
               "clamp(q - k, 0, 52)"));
  const Source divisor{
      .score = {}, .mask_rule = "q % n[b] == 0", .names = {table("n", 1, Type::whole)}};
  CHECK(starts(
      call_refusal(divisor, {{2}}),
      "mask_rule:1:5: the divisor ranges over [0, 0]; expected at least 1; write max(n[b], 1)"));
  const Source large{.score = {}, .mask_rule = "q * q * q * 100000 < 5", .names = {}};
  CHECK(starts(call_refusal(large, {}),
               "mask_rule:1:1: a whole number ranges over [0, 4665600000], beyond 32 bits"));
  CHECK(
      starts(call_refusal({.score = {}, .mask_rule = "k <= q", .names = {}}, {}, int64_t{1} << 40),
             "mask_rule:1:6: a whole number ranges over"));
}

TEST_CASE("program: random rules mean what they say, for all points, boxes and bounds") {
  Fixture fixture;
  int refused = 0, mixed = 0, boxes = 0;
  for (uint32_t seed = 0; seed < 1500; ++seed) {
    Random random(seed);
    const Truth made = random.truth(4);
    INFO(made.text);
    std::shared_ptr<const Program> p;
    try {
      p = make_program({.score = {}, .mask_rule = made.text, .names = names()});
    } catch (const InvalidArgument&) {
      ++refused;
      continue;
    }
    const Call c = fixture.call(*p, 2, 3, 7, 11);
    const int64_t offset = -2;
    prove(c, whole_box(c, offset));
    for (int i = 0; i < 6; ++i) {
      Box box = whole_box(c, offset);
      const auto cut = [&](int64_t* range) {
        const int64_t n = range[1] - range[0] + 1;
        const int64_t a = range[0] + random.below(static_cast<int>(n)),
                      d = range[0] + random.below(static_cast<int>(n));
        range[0] = std::min(a, d), range[1] = std::max(a, d);
      };
      cut(box.b), cut(box.h), cut(box.q), cut(box.k);
      const Seen said = seen(c, box);
      const Keys hull = bounded(c, box, {0, 11});
      bool any = false, all = true;
      for (int64_t b = box.b[0]; b <= box.b[1]; ++b)
        for (int64_t h = box.h[0]; h <= box.h[1]; ++h)
          for (int64_t q = box.q[0]; q <= box.q[1]; ++q) {
            const Keys keys = bounded(c, b, h, q, {0, 11});
            REQUIRE((keys.begin == keys.end || (hull.begin <= keys.begin && keys.end <= hull.end)));
            for (int64_t k = box.k[0]; k <= box.k[1]; ++k) {
              const bool want =
                  made.value({{b, h, q, k}, 0, fixture.whole.data(), fixture.real.data()});
              REQUIRE(sees<double>(c, {b, h, q, k}) == want);
              bool rest = true;
              if (!p->rest.outputs.empty()) {
                Slot<double> slots[2 * kMostNodes];
                compute(p->rest, c, {b, h, q, k}, 0.0, slots);
                rest = slots[p->rest.outputs[0]].i != 0;
              }
              REQUIRE((rest && k >= keys.begin && k < keys.end) == want);
              any = any || rest, all = all && rest;
            }
          }
      ++boxes;
      REQUIRE((said != Seen::none || !any));
      REQUIRE((said != Seen::all || all));
      mixed += said == Seen::some && (all || !any) ? 1 : 0;
    }
  }
  CHECK(refused < 100);
  CHECK(mixed < boxes / 2);
}

TEST_CASE("program: random scores and their derivatives") {
  Fixture fixture;
  int compared = 0, refused = 0;
  for (uint32_t seed = 0; seed < 1500; ++seed) {
    Random random(seed, true);
    const Real made = random.real(4);
    INFO(made.text);
    std::shared_ptr<const Program> p;
    try {
      p = make_program({.score = made.text, .mask_rule = {}, .names = names()});
    } catch (const InvalidArgument&) {  // more values at a time than machines have
      ++refused;
      continue;
    }
    Call c = fixture.call(*p, 2, 3, 7, 11);
    prove(c, whole_box(c));
    std::vector<Slot<double>> slots(p->back.steps.size() + p->score.steps.size());
    for (int i = 0; i < 8; ++i) {
      const Point at{random.below(2), random.below(3), random.below(7), random.below(11)};
      const double s = random.below(2000) / 500.0 - 2;
      const auto value = [&](double score) {
        compute(p->score, c, at, score, slots.data());
        return slots[static_cast<size_t>(p->score.outputs[0])].f;
      };
      const double want = made.value({at, s, fixture.whole.data(), fixture.real.data()});
      REQUIRE(std::abs(value(s) - want) <= 1e-12 * (1 + std::abs(want)));
      // Where pieces meet, one side differs from the other.
      const double step = 1e-6, up = (value(s + step) - value(s)) / step,
                   down = (value(s) - value(s - step)) / step;
      compute(p->back, c, at, s, slots.data());
      const auto output = [&](int32_t n) {
        return slots[static_cast<size_t>(p->back.outputs[static_cast<size_t>(n)])];
      };
      const double ds = p->ds >= 0 ? output(p->ds).f : p->score_counts ? 1.0 : 0.0;
      const double scale = 1 + std::abs(up);
      if (std::abs(up - down) < 1e-4 * scale) {
        REQUIRE(std::abs(ds - (up + down) / 2) < 1e-4 * scale);
        ++compared;
      }
      std::vector<double> gradient(fixture.real.size(), 0.0);
      for (const GradRead& r : p->reads) {
        const int64_t base = output(r.index).i;
        const int64_t element = r.way == GradRead::ascending    ? base + at.k
                                : r.way == GradRead::descending ? base - at.k
                                                                : base;
        gradient.at(static_cast<size_t>(element)) += output(r.factor).f;
      }
      const size_t e = static_cast<size_t>(random.below(15));
      double& x = fixture.real[e];
      const double before = x, middle = value(s);
      x = before + step;
      const double above = (value(s) - middle) / step;
      x = before - step;
      const double below = (middle - value(s)) / step;
      x = before;
      if (std::abs(above - below) < 1e-4 * (1 + std::abs(above)))
        REQUIRE(std::abs(gradient[e] - (above + below) / 2) < 1e-4 * (1 + std::abs(above)));
    }
  }
  CHECK(refused < 30);
  CHECK(compared > 8000);
}

TEST_CASE("program: a side that is not taken reaches no gradient") {
  const auto p = make_program(
      {.score = "k < q ? log(float(q - k) * f[0, 0]) : s", .mask_rule = {}, .names = names()});
  Fixture fixture;
  const Call c = fixture.call(*p, 1, 1, 5, 5);
  std::vector<Slot<double>> slots(p->back.steps.size());
  for (int64_t k = 0; k < 5; ++k) {
    compute(p->back, c, {0, 0, 2, k}, 1.0, slots.data());
    CHECK(slots[static_cast<size_t>(p->back.outputs[static_cast<size_t>(p->ds)])].f ==
          (k < 2 ? 0.0 : 1.0));
    const double factor =
        slots[static_cast<size_t>(p->back.outputs[static_cast<size_t>(p->reads.at(0).factor)])].f;
    CHECK(factor == (k < 2 ? Approx(1 / fixture.real[0]) : Approx(0)));
  }
}

TEST_CASE("program: texts of random bytes are programs or refused") {
  std::mt19937 engine(5);
  const std::string letters = "kqhbsQKtfNX01239.()[],?:<>=!&|+-*/% \nandornotminmaxclampwhere";
  int good = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text;
    for (uint32_t n = engine() % 24 + 1; n > 0; --n)
      text += i % 3 == 0 ? static_cast<char>(engine()) : letters[engine() % letters.size()];
    for (const bool rule : {false, true}) {
      try {
        (void)make_program(
            {.score = rule ? "" : text, .mask_rule = rule ? text : "", .names = names()});
        ++good;
      } catch (const InvalidArgument&) {
      }
    }
  }
  CHECK(good > 20);
}
