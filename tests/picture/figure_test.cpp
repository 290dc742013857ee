// SPDX-License-Identifier: Apache-2.0
//
// Pictures of observed values that no type has to give: their texts stand apart and lie inside, whatever the shapes are,
// and the three formats show the same values.
#include "host/picture/figure.hpp"

#include <attn/error.hpp>
#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

#include "tests/picture/decoded.hpp"
#include "tests/picture/layout.hpp"

namespace attn::test {

namespace {

using picture::Subject;
using picture::Wishes;

Observed values(const std::string& label, const std::string& name, const Shape& shape,
                double least = 0) {
  Array a(ATTN_F32, shape);
  for (int64_t i = 0; i < a.size(); ++i)
    a.data<float>()[i] = static_cast<float>(least + static_cast<double>(i * 37 % 101) / 101);
  return {label, name, std::move(a)};
}

template <class... O>
Subject subject(const Shape& input, O... observed) {
  Subject s{"a_type_of_somebody", "a file with a long name in a folder.json", {}, input};
  (s.observed.push_back(std::move(observed)), ...);
  return s;
}

picture::Scene drawn(Subject s, const Wishes& wishes = {}) {
  std::vector<Subject> all;
  all.push_back(std::move(s));
  return picture::figure(all, wishes);
}

void check_layout(const picture::Scene& scene) {
  CHECK(overlaps(scene) == std::vector<std::string>{});
}

std::vector<std::string> words(int64_t n) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < n; ++i)
    out.push_back(i % 3 == 0   ? "a"
                  : i % 3 == 1 ? "incomprehensibilities"
                               : "\xE4\xB8\xAD\xE6\x96\x87");
  return out;
}

bool has_text(const picture::Scene& scene, const std::string& text) {
  for (const picture::Item& item : scene.items)
    if (const auto* t = std::get_if<picture::Text>(&item);
        t && t->text.find(text) != std::string::npos)
      return true;
  return false;
}

std::string refused(const std::function<void()>& call) {
  try {
    call();
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("pictures: nothing overlaps, for maps of any shape") {
  for (const int64_t heads : {1, 3, 7, 12})
    for (const auto& [q, k] :
         {std::pair<int64_t, int64_t>{1, 1}, {1, 40}, {40, 1}, {9, 9}, {70, 20}, {300, 300}}) {
      const Shape shape{1, heads, q, k};
      INFO(shape.to_string());
      check_layout(drawn(subject({1, q, 8}, values("attention", "map", shape))));
      Wishes labelled;
      labelled.query_labels = words(q), labelled.key_labels = words(k);
      check_layout(drawn(subject({1, q, 8}, values("attention", "map", shape)), labelled));
    }
}

TEST_CASE("pictures: nothing overlaps, for everything else that is observed") {
  for (const double least : {0.0, -0.5, 1e-9, 12345678.0}) {
    Subject s = subject(
        {1, 6, 6, 4}, values("channel", "gate", {1, 1, 1, 700}, least),
        values("spatial", "gate", {1, 6, 6, 1}, least), values("", "spectrum", {1, 11, 90}, least),
        values("", "mixing", {1, 300, 900}, least), values("a", "energy", {1, 12, 6}, least),
        values("b", "energy", {1, 12, 6}, least),
        values("a long label of an operator", "energy", {1, 12, 6}, least),
        values("", "lambda", {1}, least), values("attention", "map", {1, 12, 36, 9}, least),
        values("attention", "entropy", {1, 12, 36}, least),
        values("attention", "distances", {1, 12, 44}, least),
        values("", "others", {1, 3, 5, 6}, least), values("", "row", {1, 5}, least),
        values("", "flat", {9}, least));
    Array schedule(ATTN_I64, {4, 3});
    for (int64_t i = 0; i < 4; ++i) {
      schedule.data<int64_t>()[3 * i] = (4 - i) % 4;
      schedule.data<int64_t>()[3 * i + 1] = (4 - i) % 4 * 25;
      schedule.data<int64_t>()[3 * i + 2] = (4 - i) % 4 * 25 + (i == 2 ? 3 : 25);
    }
    s.observed.push_back({"", "schedule", std::move(schedule)});
    const picture::Scene scene = drawn(std::move(s));
    check_layout(scene);
    for (const char* text :
         {"channel: gate", "spatial: gate", "energy from step to step",
          "lambda = ", "over the grid", "keys of rank 3", "entropy of each query"}) {
      INFO(text);
      CHECK(has_text(scene, text));
    }
  }
}

TEST_CASE("pictures: two subjects stand beside each other with one scale") {
  std::vector<Subject> both;
  both.push_back(subject({1, 9, 8}, values("attention", "map", {1, 8, 9, 9})));
  both.push_back(subject({1, 9, 8}, values("attention", "map", {1, 2, 9, 9}, 4)));
  const picture::Scene scene = picture::figure(both, {});
  check_layout(scene);
  double high = 0;
  for (const picture::Item& item : scene.items)
    if (const auto* f = std::get_if<picture::Field>(&item)) {
      if (high == 0) high = f->scale.high;
      CHECK(f->scale.high == high);
    }
  CHECK(high > 4);
}

TEST_CASE("pictures: a map less lambda times the other") {
  Observed lambda = values("", "lambda", {1});
  lambda.value.data<float>()[0] = 0.25F;
  const picture::Scene scene =
      drawn(subject({1, 3, 8}, values("one", "map", {1, 1, 3, 3}),
                    values("two", "map", {1, 1, 3, 3}, 1), std::move(lambda)));
  CHECK(has_text(scene, "difference: one less lambda times two"));
  CHECK(has_text(scene, "lambda = 0.25"));
  const auto& last = *std::find_if(
      scene.items.rbegin(), scene.items.rend(),
      [](const picture::Item& item) { return std::holds_alternative<picture::Field>(item); });
  const double first = 37.0 / 101;  // of the second cell
  CHECK(std::get<picture::Field>(last).values[1] == Approx(first - 0.25 * (1 + first)));
}

TEST_CASE("pictures: parts of maps keep their numbers and labels") {
  Wishes wishes;
  wishes.part = {.head = 2, .heads = 1, .query = 10, .queries = 3, .key = 20, .keys = 2};
  for (int i = 0; i < 30; ++i) wishes.query_labels.push_back("w" + std::to_string(i));
  const picture::Scene scene = drawn(subject({1, 30, 8}, values("", "map", {1, 1, 3, 2})), wishes);
  for (const char* text : {"head 2", "w10", "w12", "w20", "w21"}) CHECK(has_text(scene, text));
  CHECK_FALSE(has_text(scene, "w13"));
}

TEST_CASE("pictures: wishes that do not fit are refused") {
  const auto map = [] { return subject({1, 9, 8}, values("", "map", {2, 1, 9, 9})); };
  Wishes w;
  w.prefix = "--";
  w.row = 2;
  CHECK(refused([&] { drawn(map(), w); }) == "--row: there is no row 2 in 'map', which has 2");
  w.row = 0, w.query = 3;
  CHECK(refused([&] { drawn(map(), w); }) ==
        "");  // more rows than the batch of 1: windows of 3 x 3
  w.grid = {2, 5};
  CHECK(refused([&] {
          drawn(subject({2, 9, 8}, values("", "map", {2, 1, 9, 9})), w);
        }) == "--grid: no map of this call has keys in a grid of that size");
  w.grid = {3, 3}, w.query = 9;
  CHECK(refused([&] { drawn(map(), w); }) == "--query: there is no query 9; the map has 0 to 8");
  w.grid.reset(), w.query.reset(), w.query_labels = words(5);
  CHECK(refused([&] { drawn(map(), w); }) == "--labels: 5 labels for 9 positions");
  w.query_labels.clear(), w.key_labels = words(5);
  CHECK(refused([&] { drawn(map(), w); }) == "--key-labels: 5 labels for 9 keys");
}

TEST_CASE("pictures: the formats show the same values") {
  Observed map = values("", "map", {1, 1, 2, 3});
  map.value.data<float>()[4] = std::numeric_limits<float>::quiet_NaN();
  Wishes wishes;
  wishes.query_labels = {"<script>", "a&b"};
  const picture::Scene scene = drawn(subject({1, 2, 8}, std::move(map)), wishes);
  const picture::Pixels pixels = decoded(picture::png(scene));
  CHECK(pixels.width == std::lround(2 * scene.width));
  int fields = 0;
  for (const picture::Item& item : scene.items) {
    const auto* f = std::get_if<picture::Field>(&item);
    if (!f || f->rows != 2) continue;
    ++fields;
    for (int64_t i = 0; i < 6; ++i) {
      const double x = f->x + (static_cast<double>(i % 3) + 0.5) * f->cell_width;
      const double y = f->y + (static_cast<double>(i / 3) + 0.5) * f->cell_height;
      CHECK(pixels.colours[static_cast<size_t>(std::lround(2 * y) * pixels.width +
                                               std::lround(2 * x))] ==
            f->scale.colour(f->values[static_cast<size_t>(i)]));
    }
    CHECK(f->scale.colour(f->values[4]) == picture::kNothing);
  }
  CHECK(fields == 1);
  const std::string svg = picture::svg(scene), html = picture::html(scene, "a <b>");
  CHECK(svg.find("&lt;script&gt;</text>") != std::string::npos);
  CHECK(html.find("<script>", html.find("<script>") + 1) ==
        std::string::npos);  // one, which is ours
  for (const char* part :
       {"\"rows\":[\"\\u003cscript>\",\"a&b\"]", "0.3663", "null", "<title>a &lt;b></title>"}) {
    INFO(part);
    CHECK(html.find(part) != std::string::npos);
  }
  CHECK(html.find("http") == html.find("http://www.w3.org/2000/svg"));
}

}  // namespace attn::test
