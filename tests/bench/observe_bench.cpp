// SPDX-License-Identifier: Apache-2.0
//
// For developers: what observing costs. observe_bench WORKLOADS.json [-n PAIRS] [--threads N] [ID ...] calls the layers of
// workloads without a mask plainly and observed, in turn, and prints the processor time of the plain call, of all threads,
// and, of each pair, what the observed one takes more, in percent: medians. `rows` is row_max, lse and entropy together.
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

using attn::Json;

struct Asked {
  const char* title;
  std::vector<std::string> names;
};
const std::vector<Asked> kAsked = {{"rows", {"row_max", "lse", "entropy"}},
                                   {"column_mass", {"column_mass"}},
                                   {"distances", {"distances"}},
                                   {"top_keys", {"top_keys", "top_weights"}},
                                   {"all", {"all"}}};

attn::Array noise(const Json& extents, uint64_t seed) {
  std::vector<int64_t> shape;
  for (const Json& n : extents.as_list()) shape.push_back(n.to_int64().value_or(1));
  attn::Array x(ATTN_F32, shape);
  for (int64_t i = 0; i < x.size(); ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    // The sum of four is nearly normal.
    float sum = 0;
    for (int part = 0; part < 4; ++part) sum += static_cast<float>(seed >> (16 * part) & 0xFFFF);
    x.data<float>()[i] = (sum / 0x1p16F - 2) * 1.73F;
  }
  return x;
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

void run(const Json& workload, int pairs) {
  const auto layer =
      attn::create_attention_layer(workload.find("type")->as_string(), *workload.find("config"));
  std::vector<std::string> names;
  std::vector<attn::Array> arrays;
  for (const auto& [name, input] : workload.find("inputs")->as_object()) {
    names.push_back(name);
    arrays.push_back(noise(*input.find("shape"), arrays.size() + 1));
  }
  std::vector<attn::Input> inputs;
  for (size_t i = 0; i < arrays.size(); ++i) inputs.emplace_back(names[i], arrays[i].view());
  attn::Context context;
  const auto seconds = [&](const std::vector<std::string>& asked) {
    context.observe({.names = asked, .optional = true});
    const std::clock_t start =
        std::clock();  // other programs count less than for the time on the wall
    layer->forward(context, inputs);
    (void)context.take_observed();
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  for (int i = 0; i < 3; ++i) seconds({});
  std::vector<double> plain;
  std::vector<std::vector<double>> more(kAsked.size());
  for (const Asked& a : kAsked) seconds(a.names);
  for (int i = 0; i < pairs; ++i)
    for (size_t n = 0; n < kAsked.size(); ++n) {
      plain.push_back(seconds({}));
      more[n].push_back(100 * (seconds(kAsked[n].names) / plain.back() - 1));
    }
  std::printf("%-22s %-20s %10.3f", workload.find("id")->as_string().c_str(),
              workload.find("type")->as_string().c_str(), 1e3 * median(plain));
  for (const std::vector<double>& x : more) std::printf(" %12.1f", median(x));
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  int pairs = 15;
  std::vector<std::string> ids;
  for (size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "-n" && i + 1 < words.size()) {
      pairs = std::stoi(words[++i]);
    } else if (words[i] == "--threads" && i + 1 < words.size()) {
      attn::set_threads(std::stoi(words[++i]));
    } else {
      ids.push_back(words[i]);
    }
  }
  if (words.empty() || pairs < 1) {
    std::fprintf(stderr,
                 "observe_bench: no file of workloads, or no pairs; expected observe_bench "
                 "WORKLOADS.json [-n PAIRS] [--threads N] [ID ...]\n");
    return 2;
  }
  std::ostringstream text;
  text << std::ifstream(words[0]).rdbuf();
  const Json file = attn::parse_config(text.str(), words[0]);
  std::printf("%-22s %-20s %10s", "WORKLOAD", "TYPE", "PLAIN MS");
  for (const Asked& a : kAsked) std::printf(" %10s %%", a.title);
  std::printf("\n");
  for (const Json& w : file.find("workloads")->as_list())
    if (w.find("mode")->as_string() == "inference" && w.find("mask")->is_null() &&
        w.find("call")->as_object().empty() &&
        (ids.empty() || std::find(ids.begin(), ids.end(), w.find("id")->as_string()) != ids.end()))
      run(w, pairs);
  return 0;
}
