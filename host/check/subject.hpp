// SPDX-License-Identifier: Apache-2.0
//
// What a test looks at: a plugin file, one of its types, and helpers to make layers and calls of it.
//
// Everything is made from the schema of the type alone. A Sample is a call that the type accepts: config, tensors and
// arguments. Lives in the child process of one test. One thread.
#pragma once

#include <attn/attention.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/check/random.hpp"
#include "host/cli/call_arguments.hpp"

namespace attn::check {

// Extents of the tensors of a call. Positions are the axes between batch and width: a sequence has `length` of
// them, a second sequence `keys`, a map 3 rows of `length` columns.
struct Sizes {
  int64_t batch = 2, length = 7, keys = 5;
  bool optional = true;  // tensors of optional inputs that are no masks are given, too
  size_t form = 0;       // which shape of the input's list, where it has so many
  std::string mask{};    // the mask input to give; empty: none
  size_t mask_form = 0;  // which shape of the mask's list
  attn_dtype mask_kind = ATTN_BOOL;
};

struct NamedArray {
  std::string name;
  Array value;
};

// A call of a layer with this config.
struct Sample {
  std::string type{};
  Json config = Json::object(), arguments = Json::object();
  std::vector<NamedArray> tensors{};  // in the order of the type's inputs

  [[nodiscard]] const Array* find(std::string_view input) const;
  [[nodiscard]] Array* find(std::string_view input);
  [[nodiscard]] std::vector<Input> inputs() const;
  [[nodiscard]] std::vector<std::optional<Shape>> shapes() const;  // for Attention::build()
  [[nodiscard]] cli::CallArguments call_arguments() const { return cli::CallArguments(arguments); }
  [[nodiscard]] Sample clone() const;
  // "{"dim": 16} with inputs (2, 7, 16), use_causal_mask = true".
  [[nodiscard]] std::string text() const;
};

struct SubjectOptions {
  std::string file{};                      // absolute
  std::string type{};                      // of tests of a type
  std::vector<std::string> plugin_path{};  // where plugins are whose operators it uses
  bool quick = false;
  uint64_t seed = 1;
  std::optional<Json> config{};  // in place of those that tests draw
  std::function<void(const std::string&)> doing{};
};

class Subject {
 public:
  explicit Subject(SubjectOptions options) : options_(std::move(options)) {}

  [[nodiscard]] const std::string& file() const { return options_.file; }
  [[nodiscard]] bool quick() const { return options_.quick; }
  [[nodiscard]] uint64_t seed() const { return options_.seed; }
  // --config: the one to try, and no others.
  [[nodiscard]] const std::optional<Json>& given_config() const { return options_.config; }
  // `full`, or `quick` of them in a quick run.
  [[nodiscard]] int64_t times(int64_t full, int64_t quick) const {
    return options_.quick ? quick : full;
  }
  // Tells the parent what comes next, for the case that it crashes or hangs there.
  void doing(const std::string& what) const;

  // The same numbers for the same purpose and --seed.
  [[nodiscard]] Random random(std::string_view purpose, uint64_t number = 0) const;

  // The file as the linker opens it, without the host: entry called, nothing initialised.
  [[nodiscard]] const attn_plugin& table();
  [[nodiscard]] void* library();  // what dlopen() gave

  // The table of the file that the host has loaded.
  [[nodiscard]] const attn_plugin& loaded_table();
  // As a host loads it. Throws Failure with the reason when it is refused.
  void load();

  // ---- of the type ------------------------------------------------------------------------------
  [[nodiscard]] const std::string& id() const { return options_.type; }
  // From here on the host has loaded the file.
  [[nodiscard]] const attn_type& type();

  // given_config(), else a small one: required parameters and what rules ask for; small numbers where names are known.
  // Throws Skip when there is none.
  [[nodiscard]] const Json& config();
  // The last refusal when no config was found; empty: one was.
  [[nodiscard]] std::string why_no_config();
  // Other configs that are accepted (none beside a given one): each differs from config() in one parameter. At most `most`, spread over
  // the parameters.
  [[nodiscard]] std::vector<Json> configs(size_t most);

  // A call of config() that the type accepts, random numbers in [-1, 1). Throws Skip when there is none of these sizes.
  [[nodiscard]] Sample sample(const Sizes& sizes = {}) { return sample(config(), sizes); }
  [[nodiscard]] Sample sample(const Json& config, const Sizes& sizes = {});
  // The same, or nothing.
  [[nodiscard]] std::optional<Sample> find_sample(const Json& config, const Sizes& sizes = {});
  // Inputs with ATTN_INPUT_MASK, but for those that are not used.
  [[nodiscard]] std::vector<const attn_input*> masks();

  // A layer of the sample's config, built for its shapes. noise: all floating weights are moved by up to so much, so
  // that those that begin with zeros count.
  [[nodiscard]] std::unique_ptr<Attention> layer(const Sample& call, attn_dtype dtype = ATTN_F32,
                                                 double noise = 0.3);

 private:
  SubjectOptions options_;
  void* library_ = nullptr;
  const attn_plugin* table_ = nullptr;
  const attn_type* type_ = nullptr;
  std::optional<Json> config_{};
};

// All outputs of one call, computed in the layer's kind from the sample's tensors (floating ones are converted).
[[nodiscard]] std::vector<NamedOutput> call(Attention& layer, const Sample& sample,
                                            CallOptions options = {});

// "output[0, 3, 1]": an element by its number in row-major order. "0.25".
[[nodiscard]] std::string element_name(const std::string& tensor, const Shape& shape,
                                       int64_t element);
[[nodiscard]] std::string number_text(double x);

// Where two tensors of the same shape differ in a bit; empty: nowhere. "output[0, 3, 1]: 0.25 and 0.5".
[[nodiscard]] std::string first_difference(const NamedOutput& a, const NamedOutput& b);
[[nodiscard]] std::string first_difference(const std::vector<NamedOutput>& a,
                                           const std::vector<NamedOutput>& b);

}  // namespace attn::check
