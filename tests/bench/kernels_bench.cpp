// SPDX-License-Identifier: Apache-2.0
//
// For developers: what the kernels reach, as GFLOP/s and as a share of the multiply-add peak measured beside
// them. kernels_bench [gemm|attention|small|decode|backward|bf16] [threads]; the level comes from ATTN_ISA. Best of repeats;
// the peak is measured again before each line, because the clock and the neighbours change.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>

#include "core/cpu/level.hpp"
#include "core/kernels/attention.hpp"
#include "core/kernels/bf16.hpp"
#include "core/kernels/gemm.hpp"
#include "core/kernels/peak.hpp"
#include "core/threads/pool.hpp"

namespace {

using namespace attn;

// Aligned as the engine's own memory is.
struct Free {
  void operator()(float* p) const { std::free(p); }
};
class Floats {
 public:
  Floats() = default;
  explicit Floats(int64_t n) : n_(n), p_(static_cast<float*>(std::aligned_alloc(kPage, bytes(n)))) {
    madvise(p_.get(), bytes(n), MADV_HUGEPAGE);
    std::fill(begin(), end(), 0.0f);
  }
  [[nodiscard]] float* data() const { return p_.get(); }
  [[nodiscard]] float* begin() const { return p_.get(); }
  [[nodiscard]] float* end() const { return p_.get() + n_; }

 private:
  static constexpr size_t kPage = size_t{2} << 20;
  static size_t bytes(int64_t n) {
    return (static_cast<size_t>(n) * 4 + kPage - 1) / kPage * kPage;
  }
  int64_t n_ = 0;
  std::unique_ptr<float, Free> p_{};
};

Floats random_floats(int64_t n) {
  Floats x(n);
  uint32_t state = 12345;
  for (float& v : x) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) * (2.0f / 16777216.0f) - 1.0f;
  }
  return x;
}

// With one thread the CPU time of that thread, so that neighbours on the same core are not counted.
double now(bool one_thread) {
  timespec t{};
  clock_gettime(one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class F>
double best_seconds(const threads::PoolParallel& p, F&& f) {
  const bool one = p.concurrency() == 1;
  f();
  f();
  double best = 1e9, total = 0;
  for (int i = 0; i < 4000 && (i < 5 || total < 0.6); ++i) {
    const double begin = now(one);
    f();
    const double time = now(one) - begin;
    best = std::min(best, time);
    total += time;
  }
  return best;
}

void report(const char* name, double flops, double bytes, double seconds,
            threads::PoolParallel& p) {
  const double peak = kernels::fma_peak(p.concurrency(), p);
  std::printf("%-44s %9.3f ms %8.1f GFLOP/s %5.1f %% of %.0f", name, seconds * 1e3,
              flops / seconds * 1e-9, flops / seconds * 1e-7 / peak, peak);
  if (bytes > 0) std::printf("  %6.1f GB/s", bytes / seconds * 1e-9);
  std::printf("\n");
  std::fflush(stdout);
}

void bench_gemm(threads::PoolParallel& p) {
  struct Shape {
    int64_t batch, m, n, k;
    bool packed, a_transposed, b_transposed;
  };
  const Shape shapes[] = {
      {1, 4096, 2304, 768, true, false, false}, {1, 512, 768, 768, true, false, false},
      {1, 25088, 288, 96, true, false, false},  {1, 1576, 768, 768, false, false, false},
      {1, 768, 2304, 4096, false, true, false}, {1, 4096, 768, 2304, false, false, true},
      {1, 64, 64, 16384, false, true, false},   {1, 1, 3072, 768, true, false, false},
      {1, 4, 3072, 1024, true, false, false},   {1, 8, 3072, 1024, true, false, false},
      {96, 197, 197, 64, false, false, true},   {96, 197, 64, 197, false, false, false},
      {384, 49, 49, 32, false, false, true},    {96, 64, 64, 64, false, false, false}};
  for (const Shape& s : shapes) {
    const auto a = random_floats(s.batch * s.m * s.k), b = random_floats(s.batch * s.k * s.n);
    Floats c(s.batch * s.m * s.n), packed;
    kernels::Gemm g;
    g.batch = s.batch, g.m = s.m, g.n = s.n, g.k = s.k;
    g.a = a.data(), g.a_row = s.a_transposed ? 1 : s.k, g.a_col = s.a_transposed ? s.m : 1;
    g.b = b.data(), g.b_row = s.b_transposed ? 1 : s.n, g.b_col = s.b_transposed ? s.k : 1;
    if (s.packed) {
      packed = Floats(static_cast<int64_t>(kernels::packed_size(s.k, s.n)));
      kernels::pack_b(s.k, s.n, b.data(), g.b_row, g.b_col, packed.data());
      g.packed = packed.data();
    }
    g.c = c.data(), g.c_row = s.n;
    g.a_batch = s.m * s.k, g.b_batch = s.k * s.n, g.c_batch = s.m * s.n;
    const double seconds = best_seconds(p, [&] {
      kernels::gemm(g, p);
      p.release();
    });
    char name[80];
    std::snprintf(name, sizeof name, "gemm %ldx(%ld,%ld,%ld)%s%s%s", static_cast<long>(s.batch),
                  static_cast<long>(s.m), static_cast<long>(s.n), static_cast<long>(s.k),
                  s.packed ? " packed" : "", s.a_transposed ? " A^T" : "",
                  s.b_transposed ? " B^T" : "");
    report(name, 2.0 * static_cast<double>(s.batch * s.m) * static_cast<double>(s.n * s.k),
           s.m <= 8 ? 4.0 * static_cast<double>(s.k * s.n) : 0, seconds, p);
  }
}

struct AttentionShape {
  const char* name;
  int64_t b, h, g, q, k, d;
  bool causal;
  kernels::Probability kind;
  int64_t
      capacity;  // rows of the cache that keys and values lie in; 0: (B, K, G, D), as projections leave them
  double dropout;
};

constexpr auto kSoftmax = kernels::Probability::softmax;
constexpr AttentionShape kPrefill[] = {
    {"B8 H12 N512 D64", 8, 12, 12, 512, 512, 64, false, kSoftmax, 0, 0},
    {"B8 H12 N197 D64", 8, 12, 12, 197, 197, 64, false, kSoftmax, 0, 0},
    {"B1 H16 N2048 D64 causal", 1, 16, 16, 2048, 2048, 64, true, kSoftmax, 0, 0},
    {"B1 H16 kv4 N2048 D64 causal", 1, 16, 4, 2048, 2048, 64, true, kSoftmax, 0, 0},
    {"B1 H8 N8192 D64", 1, 8, 8, 8192, 8192, 64, false, kSoftmax, 0, 0},
    {"B2 H8 N512 D128", 2, 8, 8, 512, 512, 128, false, kSoftmax, 0, 0},
    {"B4 H12 N512 D80", 4, 12, 12, 512, 512, 80, false, kSoftmax, 0, 0},
    {"B4 H8 N512 D32", 4, 8, 8, 512, 512, 32, false, kSoftmax, 0, 0},
    {"B64 H3 N49 D32 windows", 64, 3, 3, 49, 49, 32, false, kSoftmax, 0, 0},
    {"B64 H12 N16 D64", 64, 12, 12, 16, 16, 64, false, kSoftmax, 0, 0},
    {"B4 H12 N512 D64 dropout", 4, 12, 12, 512, 512, 64, false, kSoftmax, 0, 0.1},
    {"B4 H12 N512 D64 threshmax", 4, 12, 12, 512, 512, 64, false, kernels::Probability::threshmax,
     0, 0},
    {"B4 H12 N512 D64 sparsemax", 4, 12, 12, 512, 512, 64, false, kernels::Probability::sparsemax,
     0, 0},
    {"B4 H12 N512 D64 adaptive", 4, 12, 12, 512, 512, 64, false, kernels::Probability::adaptive, 0,
     0},
};
// One head: short enough to be measured between two neighbours.
constexpr AttentionShape kSmall[] = {
    {"B1 H1 N512 D64", 1, 1, 1, 512, 512, 64, false, kSoftmax, 0, 0},
    {"B1 H4 N512 D64 (strided)", 1, 4, 4, 512, 512, 64, false, kSoftmax, 0, 0},
    {"B1 H4 N197 D64", 1, 4, 4, 197, 197, 64, false, kSoftmax, 0, 0},
    {"B1 H1 N1024 D64 causal", 1, 1, 1, 1024, 1024, 64, true, kSoftmax, 0, 0},
    {"B1 H1 N512 D32", 1, 1, 1, 512, 512, 32, false, kSoftmax, 0, 0},
    {"B1 H1 N512 D128", 1, 1, 1, 512, 512, 128, false, kSoftmax, 0, 0},
    {"B16 H3 N49 D32 windows", 16, 3, 3, 49, 49, 32, false, kSoftmax, 0, 0},
    {"B16 H4 N16 D64", 16, 4, 4, 16, 16, 64, false, kSoftmax, 0, 0},
    {"B1 H1 N512 D64 dropout", 1, 1, 1, 512, 512, 64, false, kSoftmax, 0, 0.1},
    {"B1 H1 N512 D64 threshmax", 1, 1, 1, 512, 512, 64, false, kernels::Probability::threshmax, 0,
     0},
    {"B1 H1 N512 D64 sparsemax", 1, 1, 1, 512, 512, 64, false, kernels::Probability::sparsemax, 0,
     0},
    {"B1 H1 N512 D64 adaptive", 1, 1, 1, 512, 512, 64, false, kernels::Probability::adaptive, 0, 0},
};
constexpr AttentionShape kDecode[] = {
    {"decode B1 H16 kv4 K4096 D64", 1, 16, 4, 1, 4096, 64, false, kSoftmax, 8192, 0},
    {"decode B1 H16 K4096 D64", 1, 16, 16, 1, 4096, 64, false, kSoftmax, 8192, 0},
    {"decode B8 H16 kv4 K4096 D64", 8, 16, 4, 1, 4096, 64, false, kSoftmax, 8192, 0},
};

struct AttentionData {
  explicit AttentionData(const AttentionShape& s)
      : q(random_floats(s.b * s.h * s.q * s.d)),
        k(random_floats(s.b * s.g * std::max(s.k, s.capacity) * s.d)),
        v(random_floats(s.b * s.g * std::max(s.k, s.capacity) * s.d)),
        o(s.b * s.h * s.q * s.d),
        saved(s.b * s.h * s.q * 5) {
    a.batch = s.b, a.heads = s.h, a.kv_heads = s.g, a.queries = s.q, a.keys = s.k;
    a.head_dim = a.value_dim = s.d;
    a.q = {q.data(), s.q * s.h * s.d, s.d, s.h * s.d};
    a.o = {o.data(), s.q * s.h * s.d, s.d, s.h * s.d};
    if (s.capacity > 0) {
      a.k = {k.data(), s.g * s.capacity * s.d, s.capacity * s.d, s.d};
    } else {
      a.k = {k.data(), s.k * s.g * s.d, s.d, s.g * s.d};
    }
    a.v = a.k;
    a.v.data = v.data();
    a.scale = 0.125f;
    a.right = s.causal ? 0 : -1;
    a.probability = kernels::ProbabilityArgs<float>({.kind = s.kind});
    a.dropout = s.dropout;
  }
  Floats q, k, v, o, saved;
  kernels::AttentionArgs<float> a{};
};

double pairs(const AttentionShape& s) {
  const auto q = static_cast<double>(s.q), k = static_cast<double>(s.k);
  return static_cast<double>(s.b * s.h) * (s.causal ? q * (q + 1) / 2 : q * k);
}

template <size_t N>
void bench_attention(const AttentionShape (&shapes)[N], threads::PoolParallel& p) {
  for (const AttentionShape& s : shapes) {
    AttentionData data(s);
    const double seconds = best_seconds(p, [&] {
      kernels::attention(data.a, p);
      p.release();
    });
    report(s.name, 4.0 * pairs(s) * static_cast<double>(s.d),
           s.capacity > 0 ? 8.0 * static_cast<double>(s.b * s.g * s.k * s.d) : 0, seconds, p);
  }
}

constexpr AttentionShape kBackward[] = {
    {"backward B1 H2 N512 D64", 1, 2, 2, 512, 512, 64, false, kSoftmax, 0, 0},
    {"backward B4 H12 N512 D64", 4, 12, 12, 512, 512, 64, false, kSoftmax, 0, 0},
    {"backward B4 H12 N200 D64", 4, 12, 12, 200, 200, 64, false, kSoftmax, 0, 0},
    {"backward B1 H8 N2048 D64", 1, 8, 8, 2048, 2048, 64, false, kSoftmax, 0, 0},
    {"backward B1 H16 kv4 N1024 D64 causal", 1, 16, 4, 1024, 1024, 64, true, kSoftmax, 0, 0},
    {"backward B64 H3 N49 D32", 64, 3, 3, 49, 49, 32, false, kSoftmax, 0, 0},
    {"backward B4 H12 N512 D64 dropout", 4, 12, 12, 512, 512, 64, false, kSoftmax, 0, 0.1},
    {"backward B4 H12 N512 D64 adaptive", 4, 12, 12, 512, 512, 64, false,
     kernels::Probability::adaptive, 0, 0},
};

// Recomputed scores, gradients of weights, dq, dk, dv: 5 products.
void bench_backward(threads::PoolParallel& p) {
  for (const AttentionShape& s : kBackward) {
    AttentionData data(s);
    const Floats dout = random_floats(s.b * s.h * s.q * s.d);
    Floats dq(s.b * s.h * s.q * s.d), dk(s.b * s.g * s.k * s.d), dv(s.b * s.g * s.k * s.d);
    data.a.saved = data.saved.data();
    kernels::attention(data.a, p);
    kernels::AttentionGrads<float> g;
    g.dout = {dout.data(), data.a.o.b, data.a.o.h, data.a.o.row};
    g.dq = {dq.data(), data.a.o.b, data.a.o.h, data.a.o.row};
    g.dk = {dk.data(), data.a.k.b, data.a.k.h, data.a.k.row};
    g.dv = {dv.data(), data.a.k.b, data.a.k.h, data.a.k.row};
    const double seconds = best_seconds(p, [&] {
      kernels::attention_backward(data.a, g, p);
      p.release();
    });
    report(s.name, 10.0 * pairs(s) * static_cast<double>(s.d), 0, seconds, p);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "all";
  threads::ThreadPool pool(argc > 2 ? std::atoi(argv[2]) : 1);
  threads::PoolParallel p(pool);
  const auto wanted = [&](const char* name) {
    return std::strcmp(what, "all") == 0 || std::strcmp(what, name) == 0;
  };
  std::printf("%s, level %s, %d thread(s)\n", cpu::describe().c_str(), cpu::name(cpu::level()),
              p.concurrency());
  if (wanted("gemm")) bench_gemm(p);
  if (wanted("attention")) bench_attention(kPrefill, p);
  if (wanted("small")) bench_attention(kSmall, p);
  if (wanted("decode")) bench_attention(kDecode, p);
  if (wanted("backward")) bench_backward(p);
  for (const kernels::Bf16Table* way : kernels::bf16_tables()) {  // both products and attention
    if (!wanted("bf16")) break;
    std::printf("%s\n", way->way);
    kernels::set_bf16_table(way);
    p.bfloat16 = true;
    bench_gemm(p);
    bench_attention(kSmall, p);
  }
  return 0;
}
