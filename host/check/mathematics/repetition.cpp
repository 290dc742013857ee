// SPDX-License-Identifier: Apache-2.0
//
// The same result again: in a second call, recorded, on other numbers of threads, with the same seed, from a file.
#include <unistd.h>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <cstring>
#include <filesystem>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

// The first difference of two results; "": they are the same bits.
std::string difference(const Outputs& a, const Outputs& b) {
  for (const auto& [name, value] : a) {
    if (!b.contains(name)) return "no " + name;
    const Tensor& other = b.at(name);
    if (value.shape != other.shape) return "another shape of " + name;
    for (size_t i = 0; i < value.v.size(); ++i)
      if (std::memcmp(&value.v[i], &other.v[i], sizeof(double)) != 0)
        return name + "[" + std::to_string(i) + "] is " + Json(other.v[i]).dump() + ", was " +
               Json(value.v[i]).dump();
  }
  return "";
}

std::string kind_of(const Attention& layer) {
  return layer.dtype() == ATTN_F32 ? "float32: " : "float64: ";
}

}  // namespace

std::string output_of(const Attention& layer) { return layer.type().outputs[0]->name; }

bool check_repeat(Trial& t) {
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    Call call(*layer, t.c, t.c.problem.inputs, spec_of(t.c));
    const Outputs first = call.run();
    const std::string again = difference(first, call.run());
    if (!again.empty()) t.fail(kind_of(*layer) + "a second call gives other results: " + again);
    // Another call between them, with other numbers and a context of its own.
    static_cast<void>(run(*layer, t.c, scaled(t.c, -3), spec_of(t.c)));
    const std::string after = difference(first, run(*layer, t.c, t.c.problem.inputs, spec_of(t.c)));
    if (!after.empty()) t.fail(kind_of(*layer) + "a call changes the result of the next: " + after);
  }
  return true;
}

bool check_record(Trial& t) {
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    CallSpec spec = spec_of(t.c);
    const Outputs plain = run(*layer, t.c, t.c.problem.inputs, spec);
    spec.record = true;
    const std::string d = difference(plain, run(*layer, t.c, t.c.problem.inputs, spec));
    if (!d.empty()) t.fail(kind_of(*layer) + "recording changes the result: " + d);
  }
  return true;
}

bool check_shapes(Trial& t) {
  // Call::run() compares, and throws.
  for (Attention* layer : {t.layer64.get(), t.layer32.get()})
    for (const bool record : {false, true}) {
      CallSpec spec = spec_of(t.c);
      spec.record = record;
      static_cast<void>(run(*layer, t.c, t.c.problem.inputs, spec));
    }
  return true;
}

bool check_threads(Trial& t) {
  const int before = thread_count();
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    if (t.c.is_long && layer->dtype() == ATTN_F64) continue;
    Outputs first;
    for (const int n : {1, 2, 5}) {
      set_threads(n);
      const Outputs now = everything(*layer, t.c, t.c.problem.inputs, true);
      if (n == 1) first = now;
      const std::string d = difference(first, now);
      if (d.empty()) continue;
      t.fail(kind_of(*layer) + std::to_string(n) + " threads give other results than one: " + d);
      break;
    }
  }
  set_threads(before);
  return true;
}

bool check_file(Trial& t) {
  const Case& c = t.c;
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("attn-check-" + std::to_string(getpid()) + "-" + c.id.type + "-" +
                             std::to_string(c.id.number) + ".safetensors"))
                               .string();
  t.layer32->save(path);
  const auto restored = load_attention(path);
  std::filesystem::remove(path);
  if (!(restored->config() == t.layer32->config()))
    t.fail("the restored config differs: " + restored->config().dump());
  const Outputs before = run(*t.layer32, c, c.problem.inputs, spec_of(c));
  const Outputs after = run(*restored, c, c.problem.inputs, spec_of(c));
  for (const auto& [name, value] : before)
    if (!after.contains(name) || largest_difference(after.at(name), value) != 0)
      t.fail("the restored layer gives another " + name);
  return true;
}

bool check_dropout(Trial& t) {
  const attn_type& type = t.layer32->type();
  bool random = false;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const std::string name = type.params[i]->name;
    if (name.find("dropout") == std::string::npos) continue;
    const Json rate_of = parameter(t.c, name);
    if (!rate_of.is_number()) continue;
    const double rate = rate_of.to_double();
    random = random || (rate > 0 && rate < 1);
  }
  if (!random || t.c.is_long) return false;
  // In a training call such a norm goes with neither.
  if (takes_statistics(t.c) && (declared_mask(t.c) || is_causal(t.c))) return false;
  CallSpec spec = spec_of(t.c);
  spec.training = true;
  const Outputs once = run(*t.layer32, t.c, t.c.problem.inputs, spec);
  const Outputs again = run(*t.layer32, t.c, t.c.problem.inputs, spec);
  for (const auto& [name, value] : once) {
    if (largest_difference(again.at(name), value) != 0)
      t.fail("two training calls with one seed give another " + name);
    if (!std::isfinite(magnitude(value))) t.fail("dropout makes " + name + " infinite");
  }
  return true;
}

}  // namespace attn::check
