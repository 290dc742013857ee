// SPDX-License-Identifier: Apache-2.0
//
// The group "claims" of `attn check`: every claim that a type declares, tried on random layers and calls for which its
// condition holds.
//
// Words: refuted, with the witness; sampled, of claims about dependencies, where nothing was found that refutes them;
// held, of the others; untested, when the condition held in no call. Never proved.
#include <fmt/format.h>
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <set>

#include "host/check/claims/trial.hpp"
#include "host/check/generator/settings.hpp"
#include "host/check/subject.hpp"
#include "host/check/test.hpp"

namespace attn::check {
namespace {

struct Row {
  ClaimInfo claim{};
  int64_t cases = 0, samples = 0;
  std::string refuted{};
  Json config{};  // of the case that refutes it

  [[nodiscard]] const char* word() const {
    if (!refuted.empty()) return "refuted";
    if (samples == 0) return "untested";
    const uint32_t kind = claim.declared->kind;
    const bool dependency = kind == ATTN_CLAIM_BATCH_INDEPENDENT || kind == ATTN_CLAIM_CAUSAL ||
                            kind == ATTN_CLAIM_REACHES || kind == ATTN_CLAIM_MASK_RESPECTED;
    return dependency ? "sampled" : "held";
  }
};

class ClaimTable {
 public:
  ClaimTable(Subject& s, std::optional<Json> config)
      : s_(s), type_(s.type()), config_(std::move(config)) {
    for (const ClaimInfo& claim : claims_of(type_))
      if (claim.known) rows.push_back({.claim = claim});
  }

  // Tries cases until each claim was tried often enough, or, with `refute`, until that one is refuted.
  void fill(const attn_claim* refute = nullptr) {
    const int64_t most = s_.times(400, 120);
    for (int64_t n = 0; n < most && wants(refute); ++n) {
      const CaseOptions options{.config = config_ ? &*config_ : nullptr, .tiny = true};
      add(make_case({s_.seed(), s_.id(), static_cast<uint64_t>(n)}, options), refute);
    }
    if (config_) return;
    // Settings that chance does not find: one after the other, then two at a time.
    for (const auto list : {&settings, &pairs}) {
      if (!wants(refute) || all_tested()) return;
      for (const Setting& setting : list(s_.id()))
        for (const bool training : {false, true}) {
          Case c = setting.c;
          c.problem.training = training;
          if (is_about_numbers(setting) && !all_tested() && !(training && drops(c)))
            add(std::move(c), refute);
        }
    }
  }

  std::vector<Row> rows{};
  [[nodiscard]] std::vector<std::string> undeclared() const {
    std::vector<std::string> out;
    for (const auto& [name, text] : without_gradient_)
      if (!with_gradient_.contains(name)) out.push_back(text);
    return out;
  }

 private:
  [[nodiscard]] bool all_tested() const {
    for (const Row& row : rows)
      if (row.samples == 0) return false;
    return true;
  }
  [[nodiscard]] bool wants(const Row& row) const {
    return row.refuted.empty() && row.cases < s_.times(12, 3);
  }
  [[nodiscard]] bool wants(const attn_claim* refute) const {
    for (const Row& row : rows)
      if (wants(row) && (!refute || row.claim.declared == refute)) return true;
    return false;
  }

  void add(Case c, const attn_claim* only) {
    try {
      const ClaimTrial t(std::move(c));
      s_.doing(told(t.c));
      std::optional<Influence> seen;
      bool inert = false;
      for (const ClaimInfo& claim : t.claims)
        for (Row& row : rows) {
          if (row.claim.declared != claim.declared || !wants(row)) continue;
          if (only && claim.declared != only) continue;
          if (claim.declared->kind == ATTN_CLAIM_INERT)
            inert = true;
          else
            record(row, t, try_one(t, claim, seen));
        }
      if (inert) add_inert(t);
    } catch (const InvalidArgument&) {
      // A call that its shapes, or a mask with this norm, do not fit.
    }
  }

  static Finding try_one(const ClaimTrial& t, const ClaimInfo& claim,
                         std::optional<Influence>& seen) {
    const auto moves = [&]() -> const Influence& {
      if (!seen) seen = influence(t);
      return *seen;
    };
    switch (claim.declared->kind) {
      case ATTN_CLAIM_BATCH_INDEPENDENT:
        return try_batch(t, moves());
      case ATTN_CLAIM_CAUSAL:
        return try_causal(t, claim, moves());
      case ATTN_CLAIM_REACHES:
        return try_reaches(t, claim, moves());
      case ATTN_CLAIM_MASK_RESPECTED:
        return try_mask_respected(t);
      case ATTN_CLAIM_MASK_NEUTRAL:
        return try_mask_neutral(t);
      case ATTN_CLAIM_EQUIVARIANT:
      case ATTN_CLAIM_INVARIANT:
      case ATTN_CLAIM_POSITION_SENSITIVE:
        return try_order(t, claim);
      case ATTN_CLAIM_DECODE_EQUALS_PREFILL:
        return try_decode(t);
      case ATTN_CLAIM_LINEAR:
        return try_linear(t);
      case ATTN_CLAIM_HOMOGENEOUS:
        return try_homogeneous(t, claim);
      case ATTN_CLAIM_DETERMINISTIC:
        return try_deterministic(t);
      default:
        return {};
    }
  }

  static void record(Row& row, const ClaimTrial& t, const Finding& f) {
    row.samples += f.samples;
    row.cases += f.samples > 0;
    if (f.refuted.empty()) return;
    row.refuted = f.refuted;
    row.config = t.c.problem.config;
  }

  void add_inert(const ClaimTrial& t) {
    constexpr int64_t kDraws = 6;  // one of each size
    const InertFinding f = try_inert(t, kDraws, kDraws);
    for (const size_t i : f.seen)
      for (Row& row : rows)
        if (row.claim.declared == t.claims[i].declared) record(row, t, {f.draws, ""});
    for (const auto& [i, text] : f.refuted)
      for (Row& row : rows)
        if (row.claim.declared == t.claims[i].declared && row.refuted.empty())
          record(row, t, {1, told(t.c) + ": " + text});
    std::set<std::string> names;
    for (const std::string& text : f.undeclared) {
      names.insert(text.substr(0, text.find(':')));
      without_gradient_.emplace(text.substr(0, text.find(':')), text);
    }
    for (const WeightInfo& w : t.layer->weights())
      if (!names.contains(w.name)) with_gradient_.insert(w.name);
  }

  Subject& s_;
  const attn_type& type_;
  std::optional<Json> config_;
  std::map<std::string, std::string> without_gradient_{};
  std::set<std::string> with_gradient_{};
};

uint32_t rank(const Row& row) {
  const uint32_t kind = row.claim.declared->kind;
  return kind == ATTN_CLAIM_DETERMINISTIC ? 0 : kind;
}

std::string label(const ClaimInfo& claim) {
  return claim.name + (claim.subject.empty() ? "" : " " + claim.subject);
}

// The arguments of `attn check FILE` that show it again.
std::string command(Subject& s, const Row& row) {
  std::string out = fmt::format("attn check {} --only claims --seed {}", s.file(), s.seed());
  if (s.quick()) out += " --quick";
  ClaimTable again(s, row.config);
  again.fill(row.claim.declared);
  for (const Row& r : again.rows)
    if (r.claim.declared == row.claim.declared && !r.refuted.empty())
      return out + " --config '" + row.config.dump() + "'";
  return out;  // with the other random settings alone
}

Outcome claims_hold(Subject& s) {
  ClaimTable table(s, s.given_config());
  if (table.rows.empty()) return skipped("the type makes no claims");
  table.fill();
  Outcome out;
  out.lines.push_back("claims of " + s.id());
  int64_t refuted = 0, untested = 0;
  uint32_t first = UINT32_MAX;  // what may explain the others comes first
  for (const Row& row : table.rows) {
    const bool moved = row.claim.declared->kind != ATTN_CLAIM_INERT;
    std::string what =
        fmt::format("{} configs, {} {}", row.cases, row.samples, moved ? "samples" : "draws");
    if (row.samples == 0)
      what =
          row.claim.condition.empty() ? "no call shows it" : "no call with " + row.claim.condition;
    if (!row.refuted.empty()) what = row.refuted;
    out.lines.push_back(fmt::format("  {:<32} {:<9} {}", label(row.claim), row.word(), what));
    untested += row.samples == 0;
    if (row.refuted.empty()) continue;
    const std::string again = s.given_config() ? "" : command(s, row);
    if (!again.empty()) out.lines.push_back(fmt::format("  {:<42} {}", "", again));
    ++refuted;
    if (rank(row) < first) {
      first = rank(row);
      out.message = "the claim '" + row.claim.text() + "' is refuted";
      out.witness = row.refuted;
      out.command = again;
    }
  }
  for (const std::string& text : table.undeclared())
    out.lines.push_back("  without a claim: " + text);
  if (refuted > 0) {
    out.verdict = Verdict::failed;
  } else if (untested > 0 && !s.given_config() && !s.quick()) {
    // The library's own types are known by names without a dot.
    out.verdict = s.id().find('.') == std::string::npos ? Verdict::failed : Verdict::warned;
    out.message = fmt::format(
        "{} of {} claims are untested: no call was found that they are about; "
        "a weaker condition, or another seed, may help",
        untested, table.rows.size());
  } else {
    out.message = fmt::format("{} claims", table.rows.size());
  }
  return out;
}

}  // namespace

std::span<const Test> claim_tests() {
  static constexpr Test kTests[] = {
      {"claims_hold", "what the type claims is true of random layers and calls", claims_hold,
       Group::claims, Of::type, 120},
  };
  return kTests;
}

}  // namespace attn::check
