// SPDX-License-Identifier: Apache-2.0
#include "host/picture/meaning.hpp"

#include <attn/error.hpp>

#include <algorithm>
#include <utility>

#include "core/schema/text.hpp"
#include "host/picture/figure.hpp"

namespace attn::picture {

namespace {

constexpr Meaning kMeanings[] = {
    {"map", "weights from queries to keys", "weight", "query", "key", false},
    {"row_max", "greatest score of each query", "score", "head", "query"},
    {"lse", "log-sum-exp of the scores of each query", "score", "head", "query"},
    {"entropy", "entropy of each query's weights", "nats", "head", "query"},
    {"column_mass", "what each key receives", "sum of weights", "head", "key"},
    {"distances", "weights by distance, key less query", "sum of weights", "head", "distance"},
    {"top_keys", "the keys with the greatest weights", "key", "query", "place"},
    {"top_weights", "the greatest weights of each query", "weight", "query", "place"},
    {"spectrum", "spectrum", "magnitude", "frequency along positions", "frequency along features",
     false},
    {"low_rank", "low-rank part of the scores", "score", "query", "key", false},
    {"sparse", "sparse part of the scores", "score", "query", "key", false},
    {"head_routing", "routing between heads", "coefficient", "head", "query", false, "round"}};

}  // namespace

const Meaning* meaning(const std::string& name) {
  const auto* found = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                   [&](const Meaning& m) { return name == m.name; });
  return found == std::end(kMeanings) ? nullptr : found;
}

void check_observables(const std::string& option, const std::vector<std::string>& names,
                       const std::vector<std::string>& there) {
  for (const std::string& name : names) {
    if (name == "all" || std::find(there.begin(), there.end(), name) != there.end()) continue;
    throw InvalidArgument(
        option + ": this call has no '" + name + "'; it has " +
            (there.empty() ? "nothing to observe" : schema::name_list(there)),
        {.where = option, .parameter = name, .hint = schema::did_you_mean(name, there)});
  }
}

std::vector<Observed> observe_call(const Run& run, Observe part,
                                   const std::vector<std::string>& wanted,
                                   const std::string& option) {
  // Maps in a call of their own: attention that a type runs to tell of itself has none then.
  part.names = {"map"};
  std::vector<std::string> there;
  std::vector<Observed> seen = run(part, there);
  check_observables(option, wanted, there);
  part.names = wanted;
  if (wanted.empty())
    for (const std::string& name : there)
      if (const Meaning* m = meaning(name); !m || !m->of_all) part.names.push_back(name);
  if (std::erase(part.names, "map") == 0) seen.clear();
  if (!part.names.empty())
    for (Observed& o : run(part, there)) seen.push_back(std::move(o));
  return seen;
}

}  // namespace attn::picture
