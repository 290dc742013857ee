// SPDX-License-Identifier: Apache-2.0
//
// The plain functions of the SDK as a plugin calls them: values against formulas in double, in both dtypes and
// at every level; gradients by `attn check-gradients`; and what a plugin requires of its host.
#include <dlfcn.h>

#include <attn/factory.hpp>
#include <attn/plugins.hpp>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "core/cpu/level.hpp"
#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {
namespace {

using Catch::Matchers::Contains;

const std::string kPlugins = test::built("tests/functions");

Shape shape(auto... extents) { return Shape{std::vector<int64_t>{extents...}}; }

// Of n elements, `step` apart.
double exp_sum(const double* x, int64_t first, int64_t n, int64_t step) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[first + i * step]);
  return sum;
}

// Element i of the transform along the rows' axis, the columns' axis or both; without im of real numbers.
std::complex<double> fourier(const double* re, const double* im, int64_t i, bool rows, bool columns,
                             double sign = -1) {
  std::complex<double> sum = 0;
  for (int64_t j = 0; j < 12; ++j) {
    if ((!rows && j / 4 != i / 4) || (!columns && j % 4 != i % 4)) continue;
    const double turns =
        (rows ? double(i / 4 * (j / 4)) / 3 : 0) + (columns ? double(i % 4 * (j % 4)) / 4 : 0);
    sum += std::complex<double>(re[j], im ? im[j] : 0) * std::polar(1.0, sign * 2 * M_PI * turns);
  }
  return sum;
}

struct Function {
  const char* name;
  Shape shape;
  double (*element)(const double* x, const double* y, int64_t i);
};
const std::vector<Function> kFunctions{
#define FUNCTION(name, shape, tensor, element)                                                   \
  {#name, shape,                                                                                 \
   [](const double* x, [[maybe_unused]] const double* y, [[maybe_unused]] int64_t i) -> double { \
     return element;                                                                             \
   }},
#include "functions.def"
#undef FUNCTION
};

Array numbers(attn_dtype dtype, double first, double step) {
  Array a(ATTN_F64, {3, 4});
  for (int64_t i = 0; i < 12; ++i)
    a.data<double>()[i] = static_cast<float>(first + step * double(i * 5 % 12));
  return a.astype(dtype);
}

std::set<std::string> required(const std::string& plugin) {
  void* library = ::dlopen(plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library);
  const auto entry = reinterpret_cast<const attn_plugin* (*)()>(::dlsym(library, "attn_plugin_v1"));
  REQUIRE(entry);
  std::set<std::string> names;
  const attn_plugin& p = *entry();
  for (uint32_t i = 0; i < p.n_uses; ++i) names.insert(p.uses[i]->name);
  ::dlclose(library);
  return names;
}

}  // namespace

TEST_CASE("functions: values, in both dtypes, at every level") {
  load_plugin(kPlugins + "/functions.so");
  const Array x = numbers(ATTN_F64, -1.7, 0.31), y = numbers(ATTN_F64, 1.1, -0.23);
  const cpu::Level before = cpu::level();
  for (const Function& f : kFunctions)
    for (const attn_dtype dtype : {ATTN_F64, ATTN_F32})
      for (const cpu::Level level : cpu::available()) {
        INFO(f.name << ", " << cpu::name(level) << (dtype == ATTN_F64 ? ", double" : ", float"));
        cpu::set_level(level);
        const auto layer = create_attention_layer("fixture.functions", {{"function", f.name}});
        layer->build({shape(3, 4), shape(3, 4)}, {.dtype = dtype});
        const Array xs = x.astype(dtype), ys = y.astype(dtype);
        Context context(dtype);
        const Input in[]{Input(xs), Input(ys)};
        layer->forward(context, in);
        const Array out = Array::copy_of(*context.output());
        REQUIRE(out.shape() == f.shape);
        const Array found = out.astype(ATTN_F64);
        double error = 0;
        for (int64_t i = 0; i < found.size(); ++i) {
          const double wanted = f.element(x.data<double>(), y.data<double>(), i);
          error = std::max(
              error, std::abs(found.data<double>()[i] - wanted) / std::max(1.0, std::abs(wanted)));
        }
        CHECK(error <= (dtype == ATTN_F64 ? 1e-14 : 1e-6));
      }
  cpu::set_level(before);
}

TEST_CASE("functions: attn check-gradients passes each of them") {
  const Folder folder;
  for (const Function& f : kFunctions) {
    INFO(f.name);
    const std::string layer =
        folder.write("layer.json", R"({"type": "fixture.functions", "function": ")" +
                                       std::string(f.name) + R"("})");
    const Finished done = attn_run({"check-gradients", layer, "--plugin-path", kPlugins, "--shape",
                                    "inputs=3,4", "--shape", "other=3,4", "--elements", "0"});
    check_done(done);
    CHECK_THAT(done.out, Contains("inputs") && Contains(" passed, 0 failed"));
  }
}

TEST_CASE("functions: an index beyond the table is refused by its place") {
  const Folder folder;
  const std::string layer =
      folder.write("layer.json", R"({"type": "fixture.functions", "function": "take_beyond"})");
  const std::string x = folder.write_npy("x.npy", {3, 4});
  check_refused(attn_run({"run", layer, "-q", "--plugin-path", kPlugins, "--input", "inputs=" + x,
                          "--input", "other=" + x}),
                {"operator take/1", "index[0, 0] is 2; expected 0 or more and less than 2",
                 "(2, 4), (2, 2)"});
}

TEST_CASE("functions: a plugin requires the operators that it calls and no other") {
  const std::set<std::string> all = required(kPlugins + "/functions.so");
  for (const char* name : {"cumsum", "fft", "less", "pow", "take"}) CHECK(all.contains(name));
  CHECK(all.size() > 25);
  CHECK(required(test::built("tests/plugins_bad/computing/keeps.so")).size() < all.size() / 2);
}

}  // namespace attn::test
