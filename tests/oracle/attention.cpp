// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/parts.hpp"
#include "tests/oracle/program.hpp"

namespace attn::oracle {

Tensor split_heads(const Tensor& x, int64_t heads) {
  const int64_t d = x.dim(2) / heads;
  return permute(reshape(x, {x.dim(0), x.dim(1), heads, d}), {0, 2, 1, 3});
}

Tensor merge_heads(const Tensor& x) {
  return reshape(permute(x, {0, 2, 1, 3}), {x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

Tensor unmasked(const Tensor& keep, const std::vector<size_t>& axes) {
  return along(keep, axes, [](std::vector<double>& row, int64_t) {
    if (sum_of(row) == 0) std::fill(row.begin(), row.end(), 1.0);
  });
}

Tensor weigh(Run& run, const Probability& p, const Tensor& scores, const Tensor& keep,
             Causal causal, const Tensor* bias) {
  const std::vector<size_t> axes = p.axes();
  // The argument that several types take, with one meaning; so have these parameters.
  if (const Json* j = run.argument("use_causal_mask"); j && j->as_bool()) causal.on = true;
  const double cap = run.number("softcap", 0);
  const int64_t left = run.integer("window_left", -1), right = run.integer("window_right", -1);
  const Tensor* sinks = run.flag("use_sinks", false) ? run.weight(p.site + "/sinks") : nullptr;
  const Program program(run, p.site);
  const bool programmed = run.given("score") || run.given("mask_rule");
  demand(p.over_keys() || !(causal.on || cap > 0 || left >= 0 || right >= 0 || sinks || programmed),
         "causal and score rules need weights over keys");
  const int64_t heads = scores.dim(1), queries = scores.dim(2);
  // Rows of scores and of the mask come in the same order: the latter are kept.
  std::vector<std::vector<double>> kept;
  static_cast<void>(
      along(keep, axes, [&](std::vector<double>& row, int64_t) { kept.push_back(row); }));
  // A soft cap and a program, which come before the bias, are over keys.
  const bool first = cap > 0 || program.has_score();
  return along(
      bias && !first ? add(scores, *bias) : scores, axes, [&](std::vector<double>& row, int64_t r) {
        std::vector<double>& own = kept[static_cast<size_t>(r)];
        const auto keys = static_cast<int64_t>(row.size());
        const int64_t position = r % queries + causal.offset;
        int64_t begin = 0, end = keys;  // of the visible ones
        if (left >= 0) begin = std::clamp<int64_t>(position - left, 0, keys);
        if (causal.on) end = std::min(end, position + 1);
        if (right >= 0) end = std::min(end, position + right + 1);
        Place place{.b = r / queries / heads,
                    .h = r / queries % heads,
                    .q = position,
                    .H = heads,
                    .Q = queries,
                    .K = p.over_keys() ? keys : 0};
        std::vector<double> seen;
        std::vector<size_t> visible;
        for (place.k = begin; place.k < end; ++place.k) {
          if (!program.sees(place) || (causal.seen && causal.seen->at(r % queries, place.k) == 0))
            continue;
          visible.push_back(static_cast<size_t>(place.k));
          place.s = row[visible.back()];
          if (cap > 0) place.s = cap * std::tanh(place.s / cap);
          seen.push_back(program.score(place));
          if (bias && first)
            seen.back() += bias->v[static_cast<size_t>(r * keys + place.k) % bias->v.size()];
        }
        std::fill(row.begin(), row.end(), 0.0);
        if (seen.empty()) return;  // a query without keys
        const auto is_kept = [&](size_t i) { return own[visible[i]] != 0; };
        bool any = false;
        double largest = -std::numeric_limits<double>::infinity();
        for (size_t i = 0; i < seen.size(); ++i) any = any || is_kept(i);
        for (size_t i = 0; i < seen.size(); ++i)
          if (!any || is_kept(i)) largest = std::max(largest, seen[i]);
        run.scored(largest);  // what lies far below it has no weight, whatever its rounding
        for (size_t i = 0; i < seen.size(); ++i)
          if (any && !is_kept(i)) seen[i] = largest - 1e9;
        if (sinks) seen.push_back(sinks->v.at(static_cast<size_t>(r / queries % heads)));
        p.apply(run, seen);
        for (size_t i = 0; i < visible.size(); ++i) row[visible[i]] = seen[i];
      });
}

Tensor scores_of(const Tensor& q, const Tensor& k, double scale) {
  const int64_t B = q.dim(0), H = q.dim(1), Q = q.dim(2), d = q.dim(3), G = k.dim(1), K = k.dim(2);
  Tensor out({B, H, Q, K});
  size_t o = 0;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < Q; ++i) {
        const double* qi = &q.v[q.index(b, h, i, 0)];
        for (int64_t j = 0; j < K; ++j) {
          const double* kj = &k.v[k.index(b, h / (H / G), j, 0)];
          double s = 0;
          for (int64_t c = 0; c < d; ++c) s += qi[c] * kj[c];
          out.v[o++] = s * scale;
        }
      }
  return out;
}

Tensor mix(const Tensor& weights, const Tensor& values) {
  const int64_t B = weights.dim(0), H = weights.dim(1), Q = weights.dim(2), K = weights.dim(3);
  const int64_t G = values.dim(1), e = values.dim(3);
  Tensor out({B, H, Q, e});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < Q; ++i) {
        double* o = &out.v[out.index(b, h, i, 0)];
        for (int64_t j = 0; j < K; ++j) {
          const double w = weights.v[weights.index(b, h, i, j)];
          const double* vj = &values.v[values.index(b, h / (H / G), j, 0)];
          for (int64_t c = 0; c < e; ++c) o[c] += w * vj[c];
        }
      }
  return out;
}

double kept_by_dropout(const Run& run, double rate) {
  if (!run.problem.training || rate == 0) return 1;
  demand(rate == 1, "dropout between 0 and 1 is random");
  return 0;
}

namespace {

// Frequency i of r / 2 under a rope_scaling, from the definitions of its authors; `factor` multiplies the results.
double frequency(const Json& scaling, int64_t i, int64_t r, double theta, double* factor) {
  const double omega = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(r));
  const auto real = [&](const char* name, double otherwise) {
    const Json* x = scaling.find(name);
    return x && !x->is_null() ? x->to_double() : otherwise;
  };
  const Json* type = scaling.find("rope_type");
  const std::string kind = type ? type->as_string() : "default";
  const double pi = std::acos(-1.0), scale = real("factor", 1);
  const double length = real("original_max_position_embeddings", 0);
  if (kind == "linear") return omega / scale;
  if (kind == "llama3") {
    const double low = real("low_freq_factor", 1), high = real("high_freq_factor", 4);
    const double wavelength = 2 * pi / omega;
    if (wavelength < length / high) return omega;
    if (wavelength > length / low) return omega / scale;
    const double smooth = (length / wavelength - low) / (high - low);
    return (1 - smooth) * omega / scale + smooth * omega;
  }
  if (kind == "yarn") {
    const auto mscale = [&](double m) { return scale <= 1 ? 1 : 0.1 * m * std::log(scale) + 1; };
    const double all = real("mscale_all_dim", 0), some = real("mscale", 0);
    *factor =
        real("attention_factor", all > 0 && some > 0 ? mscale(some) / mscale(all) : mscale(1));
    const auto correction = [&](double rotations) {
      return static_cast<double>(r) * std::log(length / (rotations * 2 * pi)) /
             (2 * std::log(theta));
    };
    double low = correction(real("beta_fast", 32)), high = correction(real("beta_slow", 1));
    const Json* truncate = scaling.find("truncate");
    if (!truncate || truncate->as_bool()) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, static_cast<double>(r - 1));
    if (low == high) high += 0.001;
    const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - low) / (high - low)));
    return omega / scale * ramp + omega * (1 - ramp);
  }
  demand(kind == "default", "a rope type that the oracle does not have");
  return omega;
}

// Which axis a pair turns by, and its number among so many components.
struct AxisPlace {
  int64_t axis = 0, pair = 0, of = 0;
};
AxisPlace place_of(const Json& scaling, int64_t i, int64_t r, bool halves) {
  std::vector<int64_t> sections;
  if (const Json* given = scaling.find("mrope_section"))
    for (size_t a = 0; a < given->size(); ++a) sections.push_back(*given->at(a).to_int64());
  const auto is_on = [&](const char* name) {
    const Json* flag = scaling.find(name);
    return flag && flag->as_bool();
  };
  const bool own = sections.empty() ? halves : is_on("mrope_axial");
  if (sections.empty() && halves) sections = {r / 4, r / 4};
  if (sections.empty()) return {0, i, r};
  const auto axes = static_cast<int64_t>(sections.size());
  if (is_on("mrope_interleaved"))
    return {i / axes < sections[static_cast<size_t>(i % axes)] ? i % axes : 0, i, r};
  int64_t axis = 0, begin = 0;
  while (i >= begin + sections[static_cast<size_t>(axis)])
    begin += sections[static_cast<size_t>(axis++)];
  return own ? AxisPlace{axis, i - begin, 2 * sections[static_cast<size_t>(axis)]}
             : AxisPlace{axis, i, r};
}

}  // namespace

Tensor rope(const Run& run, const Tensor& x, double percentage, double theta, int64_t offset,
            const Tensor* positions, const char* style, bool halves) {
  const int64_t d = x.dim(3);
  const int64_t r = static_cast<int64_t>(static_cast<double>(d) * percentage) / 2 * 2;
  const Json scaling = run.options("rope_scaling");
  const bool apart = run.text("rope_style", style) == "half_split";
  Tensor out = x;
  for (int64_t i = 0; i < r / 2; ++i) {
    double factor = 1;
    const AxisPlace at_axis = place_of(scaling, i, r, halves);
    const double omega = frequency(scaling, at_axis.pair, at_axis.of, theta, &factor);
    const int64_t first = apart ? i : 2 * i, second = apart ? i + r / 2 : 2 * i + 1;
    for (int64_t b = 0; b < x.dim(0); ++b)
      for (int64_t h = 0; h < x.dim(1); ++h)
        for (int64_t s = 0; s < x.dim(2); ++s) {
          const double at = !positions               ? static_cast<double>(offset + s)
                            : positions->rank() == 3 ? positions->at(b, at_axis.axis, s)
                                                     : positions->at(b, s);
          const double c = std::cos(at * omega) * factor, n = std::sin(at * omega) * factor;
          const double even = x.at(b, h, s, first), odd = x.at(b, h, s, second);
          out.at(b, h, s, first) = even * c - odd * n;
          out.at(b, h, s, second) = even * n + odd * c;
        }
  }
  return out;
}

}  // namespace attn::oracle
