// SPDX-License-Identifier: Apache-2.0
//
// The activation operator against the golden files, at every level and in double. Outputs element by element
// (an error relative to the maximum would test nothing for exponential), gradients relative to the largest
// of their tensor.
#include <filesystem>

#include "core/ops/op_test.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/json_text.hpp"
#include "core/weights/safetensors.hpp"

using namespace attn;
using namespace attn::ops::testing;

namespace {

Values tensor(const weights::SafetensorsFile& file, const std::string& name) {
  const Array a = file.read(name).astype(ATTN_F64);
  return {a.shape().to_vector(), {a.data<double>(), a.data<double>() + a.size()}};
}

}  // namespace

TEST_CASE("activation: golden files") {
  const std::filesystem::path folder =
      std::filesystem::path(ATTN_SOURCE_DIR) / "tests" / "goldens" / "activation";
  int files = 0;
  double worst = 0, worst_gradient = 0;
  const cpu::Level before = cpu::level();
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    const weights::SafetensorsFile file(item.path().string());
    INFO(item.path().filename().string());
    const Json config = schema::parse_json(file.metadata().at("config"));
    const Json* args = config.find("args");
    const auto resolved =
        schema::resolve_activation(config.at("activation"), args ? *args : Json());
    Trial t{ops::op_activation()};
    t.attrs = {static_cast<int64_t>(resolved.kind), resolved.constants, resolved.axis.value_or(-1)};
    t.in = {tensor(file, "input/input")};
    for (const auto& w : resolved.weights)
      t.in.emplace_back(tensor(file, std::string("weight/") + w.name));
    const std::vector<double> y = tensor(file, "output/output").x;
    const std::vector<double> dout = tensor(file, "cotangent/output").x;
    for (const cpu::Level level : cpu::available()) {
      cpu::set_level(level);
      for (const int32_t dtype : {ATTN_F32, ATTN_F64}) {
        INFO(cpu::name(level) << (dtype == ATTN_F64 ? ", double" : ", float"));
        const Outcome o = t.run({dtype}, &dout);
        REQUIRE(o.out[0].x.size() == y.size());
        double error = 0;
        for (size_t i = 0; i < y.size(); ++i)
          error = std::max(error, std::abs(o.out[0].x[i] - y[i]) / (1e-5 * std::abs(y[i]) + 1e-6));
        CHECK(error <= 1);
        worst = std::max(worst, error);
        std::vector<std::vector<double>> reference(t.in.size());
        double largest = 0;
        for (size_t n = 0; n < t.in.size(); ++n) {
          const std::string name = n == 0
                                       ? "grad_input/input"
                                       : std::string("grad_weight/") + resolved.weights[n - 1].name;
          if (!file.contains(name)) continue;
          reference[n] = tensor(file, name).x;
          for (const double g : reference[n]) largest = std::max(largest, std::abs(g));
        }
        for (size_t n = 0; n < t.in.size(); ++n) {
          if (reference[n].empty()) continue;
          REQUIRE(reference[n].size() == o.din[n].size());
          const double e = Trial::distance(reference[n], o.din[n], 1e-3 * largest);
          // goldens/README.md allows 5e-4; stored as float, double should match to that
          CHECK(e <= (dtype == ATTN_F64 ? 1e-6 : 1e-5));
          worst_gradient = std::max(worst_gradient, e);
        }
      }
    }
    cpu::set_level(before);
    ++files;
  }
  INFO("worst output error, in units of the tolerance, and worst gradient error");
  CAPTURE(worst, worst_gradient);
  CHECK(files >= 52);
}
