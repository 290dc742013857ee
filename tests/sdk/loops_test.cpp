// SPDX-License-Identifier: Apache-2.0
//
// What the SDK offers to the loops of operators: lines and rows of strided tensors, masks, memory of workers. The
// engine here is this file's own: three workers, pieces in an order that is not theirs.
#include <attn/sdk/matmul.hpp>
#include <attn/sdk/read_mask.hpp>
#include <attn/sdk/strided.hpp>
#include <attn/sdk/worker_memory.hpp>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

using namespace attn::sdk;

namespace {

constexpr int32_t kWorkers = 3;

struct Blocks {
  std::vector<std::unique_ptr<void, decltype(&std::free)>> owned;
};

// A call without tensors.
class TestCall {
 public:
  TestCall() {
    engine_.scratch = [](attn_ctx* ctx, uint64_t bytes) {
      void* p = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
      reinterpret_cast<Blocks*>(ctx)->owned.emplace_back(p, &std::free);
      return p;
    };
    engine_.parallel_for = [](attn_ctx*, int64_t n, int64_t grain,
                              void (*body)(void*, int64_t, int64_t, int32_t), void* user) {
      const int64_t pieces = (n + grain - 1) / grain;
      for (int64_t i = pieces - 1; i >= 0; --i)
        body(user, i * grain, std::min(n, (i + 1) * grain), static_cast<int32_t>(i % kWorkers));
    };
    engine_.concurrency = [](attn_ctx*) { return kWorkers; };
    call_.engine = &engine_;
    call_.ctx = reinterpret_cast<attn_ctx*>(&blocks_);
  }
  [[nodiscard]] OpCall call() const { return OpCall(&call_); }

 private:
  Blocks blocks_;
  attn_engine engine_{};
  attn_op_call call_{};
};

template <class T>
attn_view view(std::vector<T>& memory, int32_t dtype, const std::vector<int64_t>& shape) {
  attn_view v{};
  v.data = memory.data();
  v.dtype = dtype;
  v.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), v.shape);
  set_dense_strides(v);
  return v;
}

attn_view swapped(attn_view v, int a, int b) {
  std::swap(v.shape[a], v.shape[b]);
  std::swap(v.stride[a], v.stride[b]);
  return v;
}

}  // namespace

TEST_CASE("strided rows: every element once, dense and transposed, along any axis") {
  const TestCall t;
  std::vector<float> x(2 * 300 * 70), y(x.size());
  std::iota(x.begin(), x.end(), 1.0F);
  const attn_view from = view(x, ATTN_F32, {2, 300, 70});
  std::vector<float> memory(x.size());
  const attn_view over = swapped(view(memory, ATTN_F32, {70, 300, 2}), 0, 2);
  for (const int axis : {-1, 0, 1, 2}) {
    std::fill(memory.begin(), memory.end(), 0.0F);
    const StridedRows<2> rows({&over, &from}, axis);
    CHECK(rows.count() * rows.length() == 2 * 300 * 70);
    rows.each<float>(t.call(), [](float& to, float a) { to += 2 * a; });
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 300; ++j)
        for (int64_t k = 0; k < 70; ++k)
          REQUIRE(*element<float>(over, i, j, k) == 2 * *element<float>(from, i, j, k));
    const double sum = rows.sum<float>(t.call(), [](float a, float b) { return a > b ? b : -1e9; });
    CHECK(sum == 42000.0 * 42001.0 / 2);
  }
  const StridedRows<2> rows({&from, nullptr}, 1);
  CHECK(rows.line<float>(1, rows.place(5)).data == nullptr);
  const Line<float> l = rows.line<float>(0, rows.place(75));  // (1, :, 5)
  CHECK(l.step == 70);
  CHECK(l[7] == *element<float>(from, 1, 7, 5));
  CHECK(line<float>(from, 1, 7)[5] == l[7]);
  std::vector<float> one{3};
  const attn_view scalar = view(one, ATTN_F32, {});
  StridedRows<1>({&scalar}).each<float>(t.call(), [](float& v) { v += 1; });
  CHECK(one[0] == 4);
  attn_view none = from;
  none.shape[1] = 0;
  CHECK(StridedRows<1>({&none}).count() == 0);
  CHECK(StridedRows<1>({&none}, 1).count() == 0);
}

TEST_CASE("memory of workers: as laid out, aligned, apart") {
  const TestCall t;
  struct Desk {
    float* x;
    double* y;
    explicit Desk(Arena& a) : x(a.take<float>(5)), y(a.take<double>(9)) {}
  };
  const WorkerMemory memory(t.call(), [](Arena& a) { Desk desk(a); });
  std::vector<char*> begins;
  for (int32_t w = 0; w < kWorkers; ++w) {
    Arena a = memory[w];
    const Desk desk(a);
    CHECK(reinterpret_cast<uintptr_t>(desk.x) % 64 == 0);
    CHECK(reinterpret_cast<char*>(desk.y) - reinterpret_cast<char*>(desk.x) == 64);
    begins.push_back(reinterpret_cast<char*>(desk.x));
    std::fill_n(desk.y, 9, 1.0 * w);
  }
  CHECK(begins[1] - begins[0] == 64 + 128);
  CHECK(begins[2] - begins[1] == 64 + 128);
  CHECK(Arena::measure([](Arena& a) { Desk desk(a); }) == 64 + 128);
}

TEST_CASE("masks: bytes of every dtype, broadcast; one refusal") {
  const TestCall t;
  const ScoresShape scores{2, 3, 4, 5};
  const auto check = [&](const attn_view& mask, auto&& expected) {
    CHECK_NOTHROW(check_mask(mask, scores));
    const uint8_t* keep = read_mask(t.call(), mask, scores);
    for (int64_t i = 0; i < 2 * 3 * 4 * 5; ++i)
      REQUIRE((keep[i] == 1) == expected(i / 60, i / 20 % 3, i / 5 % 4, i % 5));
  };
  const auto kinds = [&](auto zero, int32_t dtype, auto one, auto negative) {
    using T = decltype(zero);
    std::vector<T> x(2 * 5, zero);
    x[1] = x[7] = one;
    x[2] = negative;
    check(view(x, dtype, {2, 5}),
          [](int64_t b, int64_t, int64_t, int64_t k) { return b * 5 + k == 1 || b * 5 + k == 7; });
  };
  kinds(0.0F, ATTN_F32, 1e-42F, -1.0F);  // a number that the processor may take for 0
  kinds(0.0F, ATTN_F32, INFINITY, std::nanf(""));
  kinds(0.0, ATTN_F64, 1e-310, -1.0);
  kinds(uint16_t{0}, ATTN_F16, uint16_t{1}, uint16_t{0xbc00});
  kinds(uint16_t{0}, ATTN_BF16, uint16_t{0x3f80}, uint16_t{0x7fc0});
  kinds(int32_t{0}, ATTN_I32, int32_t{7}, int32_t{-1});
  kinds(int64_t{0}, ATTN_I64, int64_t{1} << 40, int64_t{-1});
  kinds(uint32_t{0}, ATTN_U32, uint32_t{1} << 31, uint32_t{0});
  kinds(uint8_t{0}, ATTN_U8, uint8_t{255}, uint8_t{0});
  kinds(uint8_t{0}, ATTN_BOOL, uint8_t{1}, uint8_t{0});

  std::vector<int32_t> x(2 * 3 * 4 * 5);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % 7 == 0;
  check(view(x, ATTN_I32, {5}), [&](int64_t, int64_t, int64_t, int64_t k) { return x[k] != 0; });
  check(view(x, ATTN_I32, {2, 4, 5}),
        [&](int64_t b, int64_t, int64_t q, int64_t k) { return x[(b * 4 + q) * 5 + k] != 0; });
  check(view(x, ATTN_I32, {2, 3, 4, 5}), [&](int64_t b, int64_t h, int64_t q, int64_t k) {
    return x[((b * 3 + h) * 4 + q) * 5 + k] != 0;
  });
  check(view(x, ATTN_I32, {1, 3, 1, 5}),
        [&](int64_t, int64_t h, int64_t, int64_t k) { return x[h * 5 + k] != 0; });
  check(swapped(view(x, ATTN_I32, {5, 4, 2}), 0, 2),
        [&](int64_t b, int64_t, int64_t q, int64_t k) { return x[(k * 4 + q) * 2 + b] != 0; });

  for (const std::vector<int64_t>& wrong :
       {std::vector<int64_t>{}, {4}, {3, 5}, {2, 3, 5}, {2, 2, 4, 5}, {1, 2, 3, 4, 5}})
    CHECK_THROWS_WITH(check_mask(view(x, ATTN_I32, wrong), scores),
                      Catch::Contains("does not broadcast to (batch, head, query, key) = (2, 3, "
                                      "4, 5)"));
}
