// SPDX-License-Identifier: Apache-2.0
//
// What a causal call or a mask keeps from a position stays away from it, whatever norm or activation a type is given:
// every type, every parameter of such a kind, every member and axis. Such a call is refused, or the content of what
// must not be seen changes nothing.
#include <algorithm>
#include <cmath>

#include <attn/log.hpp>

#include "core/schema/families/activation.hpp"
#include "core/schema/families/norm.hpp"
#include "tests/masks/small.hpp"

namespace attn::masks {
namespace {

// The same config with every member of every family that could mix positions, over every axis.
std::vector<Json> settings_of(const attn_type& t) {
  const Json base = small_config(t);
  std::vector<Json> out{base};
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    const bool norm = p.kind == ATTN_PARAM_NORM;
    if (!norm && p.kind != ATTN_PARAM_ACTIVATION) continue;
    const char* options = nullptr;
    for (uint32_t o = 0; o < t.n_params; ++o)
      if (t.params[o]->of && std::string(t.params[o]->of) == p.name) options = t.params[o]->name;
    for (const schema::FamilyMember& m : (norm ? schema::norms() : schema::activations()).members) {
      if (m.extra) continue;
      Json named = base;
      named.set(p.name, m.name);
      out.push_back(named);
      bool lists = false, axis = false;
      for (const schema::Option& o : m.options) {
        lists = lists || o.kind == schema::OptionKind::axes;
        axis = axis || o.kind == schema::OptionKind::axis || o.kind == schema::OptionKind::axes;
      }
      if (!axis || !options) continue;
      std::vector<Json> axes{-1, -2, -3, 1, 2};
      if (lists) axes.insert(axes.end(), {Json::list({-1, -2}), Json::list({-3, -1})});
      for (const Json& a : axes) {
        Json with = named;
        with.set(options, Json{{"axis", a}});
        out.push_back(with);
      }
    }
  }
  return out;
}

// Other content at positions begin.. of an input (batch, positions..., width).
Array replaced(const Array& x, int64_t begin) {
  Array y = x.clone();
  const int64_t width = x.shape()[x.shape().size() - 1], row = kTokens * width;
  const Array other = noise(x.dtype(), x.shape(), 77, 3);
  for (int64_t i = 0; i < x.size(); ++i)
    if (i % row / width >= begin) y.data<double>()[i] = other.data<double>()[i];
  return y;
}

// The largest change of positions 0..end-1.
double change(const Array& a, const Array& b, int64_t end) {
  const int64_t row = a.size() / kBatch, width = row / kTokens;
  double largest = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    if (i % row / width < end)
      largest = std::max(largest, std::fabs(a.data<double>()[i] - b.data<double>()[i]));
  return std::isnan(largest) ? HUGE_VAL : largest;
}

// Sums of another order differ by some eps of results of this size.
constexpr double kSame = 1e-11;

struct Seen {
  int kept = 0, refused = 0, leaking = 0;
};

// begin: the first position whose content is replaced; what lies before it, of all positions or of those, may not
// change.
void look(const attn_type& t, const Json& config, Call call, const std::string& input,
          int64_t begin, Seen& seen) {
  std::unique_ptr<Attention> layer;
  try {
    layer = small_layer(t, config, ATTN_F64, call);
  } catch (const InvalidArgument&) {
    return;  // no such layer
  }
  try {
    const Array before = run(*layer, call);
    call.inputs.at(input) = replaced(call.inputs.at(input), begin);
    const Array after = run(*layer, call);
    ++seen.kept;
    if (change(before, after, begin) <= kSame) return;
    ++seen.leaking;
    UNSCOPED_INFO(config.dump() << (call.training ? " training" : "") << ": " << input
                                << " changed by " << change(before, after, begin));
  } catch (const InvalidArgument& e) {
    ++seen.refused;
    const std::string text = e.what();
    if (text.find("mix") == text.npos) {
      ++seen.leaking;
      UNSCOPED_INFO(config.dump() << " refused for another reason: " << text);
    }
  }
}

// The input whose positions are the keys.
std::string keys_of(const attn_type& t, const Call& call) {
  std::string first, keys;
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    if (!call.inputs.contains(t.inputs[i]->name) || t.inputs[i]->flags & ATTN_INPUT_MASK) continue;
    if (first.empty()) first = t.inputs[i]->name;
    const std::vector<std::string> extents = check::axis_names(t.inputs[i]->shapes[0]);
    if (keys.empty() && std::find(extents.begin(), extents.end(), "key") != extents.end())
      keys = t.inputs[i]->name;
  }
  return keys.empty() ? first : keys;
}

bool is_causal(const attn_param& p) { return (p.flags & ATTN_PARAM_CAUSAL) != 0; }

}  // namespace

TEST_CASE("leaks: in a causal call no norm and no activation shows a position what comes later") {
  int types = 0;
  for_each_type([&](const attn_type& t) {
    const char *parameter = nullptr, *argument = nullptr;
    for (uint32_t i = 0; i < t.n_params; ++i)
      if (is_causal(*t.params[i])) parameter = t.params[i]->name;
    for (uint32_t i = 0; i < t.n_args; ++i)
      if (is_causal(*t.args[i])) argument = t.args[i]->name;
    if (!parameter && !argument) return;
    ++types;
    Call call = small_call(t, ATTN_F64, false);
    if (argument) call.arguments.emplace_back(argument, true);
    Seen seen;
    for (Json config : settings_of(t)) {
      if (parameter) config.set(parameter, true);
      for (const bool training : {false, true}) {
        call.training = training;
        for (const int64_t begin : {int64_t{5}, kTokens - 1})
          look(t, config, call, keys_of(t, call), begin, seen);
      }
    }
    CAPTURE(t.id);
    CHECK(seen.leaking == 0);
    CHECK(seen.kept > 0);
  });
  CHECK(types >= 5);
}

TEST_CASE(
    "leaks: what a mask leaves out does not reach the others through a norm or an activation") {
  int types = 0;
  for_each_type([&](const attn_type& t) {
    for (const attn_input* mask : masks_of(t)) {
      // Declared, and said in the document of the type: what is left out acts in other ways.
      if (mask->flags & ATTN_INPUT_PARTIAL) continue;
      ++types;
      Seen seen;
      for (const bool optional : {false, true}) {
        Call call = small_call(t, ATTN_F64, optional);
        Array keep = ones("batch, key", ATTN_F64);
        for (int64_t i = 0; i < keep.size(); ++i)
          keep.data<double>()[i] = i % kTokens < kTokens - 2 ? 1 : 0;
        call.inputs.emplace(mask->name, keep.astype(ATTN_BOOL));
        for (const Json& config : settings_of(t))
          for (const bool training : {false, true}) {
            call.training = training;
            look(t, config, call, keys_of(t, call), kTokens - 2, seen);
          }
      }
      CAPTURE(t.id, mask->name);
      CHECK(seen.leaking == 0);
      CHECK(seen.kept > 0);
    }
  });
  CHECK(types >= 12);
}

TEST_CASE(
    "leaks: a mask whose type lets what it leaves out act says so once, when the layer is built") {
  for_each_type([&](const attn_type& t) {
    for (const attn_input* mask : masks_of(t)) {
      Call call = small_call(t, ATTN_F32, false);
      const auto told = [&](bool with_mask) {
        static std::vector<std::string> lines;
        lines.clear();
        set_log_sink([](LogLevel level, std::string_view text) {
          if (level == LogLevel::warning) lines.emplace_back(text);
        });
        Call built = call;
        if (with_mask) built.inputs.emplace(mask->name, ones(mask->shapes[0], ATTN_BOOL));
        const auto layer = small_layer(t, small_config(t), ATTN_F32, built);
        const size_t at_build = lines.size();
        // Without the mask when it was built: then the first call that has it.
        built.inputs.emplace(mask->name, ones(mask->shapes[0], ATTN_BOOL));
        run(*layer, built);
        run(*layer, built);
        set_log_sink({});
        CAPTURE(t.id, lines);
        const bool partial = (mask->flags & ATTN_INPUT_PARTIAL) != 0;
        CHECK(lines.size() == (partial ? 1u : 0u));
        CHECK(at_build == (partial && with_mask ? 1u : 0u));
        if (partial && !lines.empty()) {
          CHECK(lines[0].find(mask->name) != std::string::npos);
          CHECK(lines[0].find(mask->doc) != std::string::npos);
        }
      };
      told(true);
      told(false);
    }
  });
}

}  // namespace attn::masks
