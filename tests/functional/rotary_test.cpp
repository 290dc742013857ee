// SPDX-License-Identifier: Apache-2.0
//
// rotary_embedding against its definition, and its gradient as the transposed map.
#include "tests/functional/arrays.hpp"

using namespace attn;
using namespace attn::naive;

namespace {

struct Rotation {
  int64_t b = 2, h = 3, l = 5, d = 8, turned = 0, positions = 9;
  bool interleaved = false, ids = true, three = false, strided = false;
  attn_dtype dtype = ATTN_F64;
  Tensor x{}, cos{}, sin{};
  std::vector<int64_t> places{};
};

Rotation random_rotation(unsigned seed) {
  Random r(seed);
  Rotation c;
  c.b = r.from(1, 3), c.h = r.from(1, 3), c.l = r.from(0, 6), c.d = 2 * r.from(1, 6);
  c.turned = r.one_in(2) ? 0 : 2 * r.from(1, c.d / 2);
  c.interleaved = r.one_in(2), c.ids = r.one_in(2), c.three = r.one_in(3), c.strided = r.one_in(2);
  const attn_dtype kinds[] = {ATTN_F64, ATTN_F32, ATTN_F16, ATTN_BF16};
  c.dtype = kinds[r.from(0, 3)];
  c.x = Tensor(c.b, c.h, c.l, c.d);
  const int64_t half = (c.turned == 0 ? c.d : c.turned) / 2;
  c.cos = c.sin = c.ids ? Tensor(1, 1, c.positions, half) : Tensor(1, c.b, c.l, half);
  for (Tensor* t : {&c.x, &c.cos, &c.sin}) r.fill(*t);
  for (int64_t i = 0; i < c.b * c.l; ++i) c.places.push_back(r.from(0, c.positions - 1));
  return c;
}

Tensor solve(const Rotation& c, double sign = 1) {
  Tensor y = c.x;
  const int64_t turned = c.turned == 0 ? c.d : c.turned;
  for (int64_t b = 0; b < c.b; ++b)
    for (int64_t h = 0; h < c.h; ++h)
      for (int64_t l = 0; l < c.l; ++l)
        for (int64_t i = 0; i < turned / 2; ++i) {
          const int64_t first = c.interleaved ? 2 * i : i;
          const int64_t second = c.interleaved ? 2 * i + 1 : i + turned / 2;
          const int64_t at = c.ids ? c.places[static_cast<size_t>(b * c.l + l)] : l;
          const double cos = c.cos(0, c.ids ? 0 : b, at, i);
          const double sin = sign * c.sin(0, c.ids ? 0 : b, at, i);
          y.x[y.at(b, h, l, first)] = cos * c.x(b, h, l, first) - sin * c.x(b, h, l, second);
          y.x[y.at(b, h, l, second)] = sin * c.x(b, h, l, first) + cos * c.x(b, h, l, second);
        }
  return y;
}

struct Arrays {
  Held x, cos, sin;
  std::optional<ConstView> ids{};
  RotaryEmbeddingOptions options{};

  explicit Arrays(const Rotation& c)
      : x(hold(c.x, c.dtype, c.strided, c.three)),
        cos(hold(c.cos, c.dtype, false)),
        sin(hold(c.sin, c.dtype, false)) {
    const int64_t* n = c.cos.n;
    const Shape shape = c.ids ? Shape{n[2], n[3]} : Shape{n[1], n[2], n[3]};
    cos.view = ConstView(cos.memory.raw(), c.dtype, shape);
    sin.view = ConstView(sin.memory.raw(), c.dtype, shape);
    if (c.ids) ids = ConstView(c.places.data(), {c.b, c.l});
    options.interleaved = c.interleaved;
    options.rotary_embedding_dim = c.turned;
    if (c.three) options.num_heads = c.h;
  }
};

double bound(attn_dtype dtype) {
  switch (dtype) {
    case ATTN_F64:
      return 4 * 2.3e-16;
    case ATTN_F32:
      return 4 * 1.2e-7;
    case ATTN_F16:
      return 0x1p-11 * 1.01;
    default:
      return 0x1p-8 * 1.01;
  }
}

}  // namespace

TEST_CASE("rotary embedding: both forms of pairs, parts of heads, positions, layouts, kinds") {
  for (unsigned seed = 0; seed < 400; ++seed) {
    const Rotation c = random_rotation(seed);
    const Arrays a(c);
    INFO("seed " << seed << " " << dtype_name(c.dtype) << " three " << c.three << " ids " << c.ids);
    const Array y = rotary_embedding(a.x.view, a.cos.view, a.sin.view, a.ids, a.options);
    CHECK(y.shape() == a.x.view.shape);
    CHECK(y.dtype() == c.dtype);
    CHECK(difference(read(y, c.h, c.three), solve(c)) <= bound(c.dtype));
    const Array dx = rotary_embedding_backward(a.x.view, a.cos.view, a.sin.view, a.ids, a.options);
    CHECK(difference(read(dx, c.h, c.three), solve(c, -1)) <= bound(c.dtype));
    Array into(c.dtype, a.x.view.shape);
    rotary_embedding_into(into.view(), a.x.view, a.cos.view, a.sin.view, a.ids, a.options);
    CHECK(read(into, c.h, c.three).x == read(y, c.h, c.three).x);
  }
}

TEST_CASE("rotary embedding: refusals") {
  using Catch::Contains;
  const Array x(ATTN_F32, {2, 3, 4, 6}), cos(ATTN_F32, {9, 3}), flat(ATTN_F32, {2, 4, 18});
  const std::vector<int64_t> places{0, 1, 2, 3, 4, 5, 6, 9};
  const ConstView ids(places.data(), {2, 4});
  const auto refused = [](const ConstView& input, const ConstView& c, const ConstView& s,
                          const std::optional<ConstView>& at, const RotaryEmbeddingOptions& o) {
    try {
      (void)rotary_embedding(input, c, s, at, o);
    } catch (const InvalidArgument& e) {
      CHECK(e.details().where == "rotary_embedding");
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(refused(x, cos, cos, ids, {}), Contains("position_ids is 9 at (1, 3)"));
  CHECK_THAT(refused(x, cos, cos, {}, {}), Contains("cos_cache has shape (9, 3)"));
  CHECK_THAT(refused(flat, cos, cos, ids, {}), Contains("num_heads is missing"));
  CHECK_THAT(refused(flat, cos, cos, ids, {.num_heads = 4}), Contains("num_heads is 4"));
  CHECK_THAT(refused(x, cos, cos, ids, {.num_heads = 4}), Contains("num_heads is 4"));
  CHECK_THAT(refused(x, cos, cos, ids, {.rotary_embedding_dim = 3}),
             Contains("rotary_embedding_dim is 3"));
  CHECK_THAT(refused(x, cos, cos, ids, {.rotary_embedding_dim = 8}),
             Contains("rotary_embedding_dim is 8"));
  CHECK_THAT(refused(x, cos, cos, ids, {.rotary_embedding_dim = 4}),
             Contains("cos_cache has shape (9, 3)"));
  CHECK_THAT(refused(x, cos, Array(ATTN_F64, {9, 3}), ids, {}), Contains("one dtype"));
  CHECK_THAT(refused(Array(ATTN_I32, {2, 3, 4, 6}), cos, cos, ids, {}), Contains("input is int32"));
  CHECK_THAT(refused(x, cos, cos, Array(ATTN_F32, {2, 4}).view(), {}),
             Contains("position_ids is float32"));
}
