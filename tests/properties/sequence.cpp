// SPDX-License-Identifier: Apache-2.0
//
// The same result on another way: step by step, from a file, with the same seed.
#include <unistd.h>
#include <attn/factory.hpp>

#include <filesystem>

#include "tests/properties/checks.hpp"

namespace attn::properties {
namespace {

using oracle::Tensor;
using Inputs = std::map<std::string, Tensor>;

// Queries begin..end-1 of a sequence, and what a mask says about them: with all keys up to end, or, between two
// sequences, with all keys there are. A state keeps the other sequence from the first call on.
Inputs chunk(const Inputs& inputs, int64_t begin, int64_t end, bool first) {
  const bool cross = inputs.contains("kv_input");
  Inputs out;
  for (const auto& [name, t] : inputs) {
    if (name == "kv_input") {
      if (first) out[name] = t;
    } else if (name.find("mask") == std::string::npos) {
      out[name] = oracle::slice(t, 1, begin, end);
    } else {
      Tensor mask = cross ? t : oracle::slice(t, -1, 0, end);
      if (mask.rank() >= 3 && mask.dim(-2) > 1) mask = oracle::slice(mask, -2, begin, end);
      out[name] = std::move(mask);
    }
  }
  return out;
}

}  // namespace

void check_decode(Trial& t) {
  const Case& c = t.c;
  const Extents e = extents_of(c);
  if (t.layer64->has_state()) t.marks.insert("state " + c.id.type);
  const bool cross = c.problem.inputs.contains("kv_input");
  const auto data = c.problem.inputs.find(cross ? "query_input" : "inputs");
  if (!t.layer64->has_state() || c.problem.training || !over_keys(c) || mixes_positions(c) ||
      data == c.problem.inputs.end() || data->second.rank() != 3)
    return;
  t.marks.insert("decode " + c.id.type);
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    const bool single = layer->dtype() == ATTN_F32;
    if (c.is_long && !single) continue;
    Random random(c.weights, "chunks", 0);
    CallSpec spec;
    const attn_type& type = layer->type();
    for (uint32_t i = 0; i < type.n_args; ++i)
      if (std::string(type.args[i]->name) == "use_causal_mask")
        spec.arguments.set("use_causal_mask", true);
    const Tensor whole = run(*layer, c, c.problem.inputs, spec).at("output");
    const auto state = layer->make_state(e.batch, e.queries);
    spec.state = state.get();
    if (random.chance(0.5)) spec.arguments = Json::object();  // with a state this is the default
    int64_t at = 0;
    bool cut = false;
    while (at < e.queries) {
      const int64_t n = std::min(e.queries - at, random.between(1, c.is_long ? 300 : 5));
      const Tensor part =
          run(*layer, c, chunk(c.problem.inputs, at, at + n, at == 0), spec).at("output");
      const Tensor expected = oracle::slice(whole, 1, at, at + n);
      const double d = largest_difference(part, expected);
      if (!(d <= (single ? 2 * t.tolerance32 : 1e-10 * magnitude(whole))))
        return t.fail(std::string(single ? "float32" : "float64") + ": positions " +
                      std::to_string(at) + " to " + std::to_string(at + n - 1) +
                      " of a chunk differ by " + std::to_string(d));
      at += n;
      // Some of it taken back, once.
      if (!cross && !cut && random.chance(0.3)) {
        cut = true;
        const int64_t back = random.between(0, at);
        try {
          state->truncate(back);
          at = back;
        } catch (const InvalidArgument&) {
          // Sums over what was seen cannot go back.
        }
      }
    }
    if (!cross && state->length() != e.queries) t.fail("the state has a wrong length");
  }
}

void check_file(Trial& t) {
  const Case& c = t.c;
  if (c.id.number % 4 != 0) return;
  t.marks.insert("file " + c.id.type);
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("attn-properties-" + std::to_string(getpid()) + "-" + c.id.type + "-" +
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
}

void check_dropout(Trial& t) {
  const attn_type& type = t.layer32->type();
  bool random = false;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const std::string name = type.params[i]->name;
    if (name.find("dropout") == std::string::npos) continue;
    const double rate = parameter(t.c, name).to_double();
    random = random || (rate > 0 && rate < 1);
  }
  if (!random || t.c.is_long) return;
  // In a training call such a norm goes with neither.
  if (takes_statistics(t.c) && (declared_mask(t.c) || is_causal(t.c))) return;
  t.marks.insert("dropout " + t.c.id.type);
  CallSpec spec = spec_of(t.c);
  spec.training = true;
  const Outputs once = run(*t.layer32, t.c, t.c.problem.inputs, spec);
  const Outputs again = run(*t.layer32, t.c, t.c.problem.inputs, spec);
  for (const auto& [name, value] : once) {
    if (largest_difference(again.at(name), value) != 0)
      t.fail("two training calls with one seed give another " + name);
    if (!std::isfinite(magnitude(value))) t.fail("dropout makes " + name + " infinite");
  }
}

}  // namespace attn::properties
