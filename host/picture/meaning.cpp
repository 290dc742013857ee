// SPDX-License-Identifier: Apache-2.0
#include "host/picture/meaning.hpp"

#include <algorithm>
#include <utility>

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

std::vector<Observed> observe_call(const Run& run, Observe part,
                                   const std::vector<std::string>& wanted) {
  // Maps in a call of their own: attention that a type runs to tell of itself has none then.
  part.names = {"map"};
  part.optional = std::find(wanted.begin(), wanted.end(), "map") == wanted.end();
  std::vector<std::string> there;
  std::vector<Observed> seen = run(part, there);
  part.names = wanted;
  part.optional = false;
  if (wanted.empty())
    for (const std::string& name : there)
      if (const Meaning* m = meaning(name); !m || !m->of_all) part.names.push_back(name);
  if (std::erase(part.names, "map") == 0) seen.clear();
  if (!part.names.empty())
    for (Observed& o : run(part, there)) seen.push_back(std::move(o));
  return seen;
}

}  // namespace attn::picture
