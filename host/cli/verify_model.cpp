// SPDX-License-Identifier: Apache-2.0
//
// A case of a published model: config.json and weights of one attention module, converted, built and called as the case
// says, the first call over a prompt with padding and the others through a state.
#include <attn/config.hpp>
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/safetensors.hpp>

#include <cstring>
#include <filesystem>

#include "host/cli/log_sink.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"
#include "host/cli/verify.hpp"
#include "host/library/convert/rearrange.hpp"

namespace attn::cli {

namespace {

constexpr const char* kFormat = "attn-decoder-1";

std::string description_of(const std::string& path) {
  return std::filesystem::path(path).replace_extension(".json").string();
}

// Rows of `y` whose token is padding become zeros, as the case has them.
void clear_padding(Array& y, const Array& keep) {
  const size_t row = y.bytes() / static_cast<size_t>(keep.size());
  for (int64_t i = 0; i < keep.size(); ++i)
    if (!keep.data<bool>()[i])
      std::memset(static_cast<char*>(y.raw()) + static_cast<size_t>(i) * row, 0, row);
}

class ModelCase {
 public:
  explicit ModelCase(const std::string& path)
      : description_(parse_config(read_text_file(description_of(path), "the case's description"),
                                  description_of(path))),
        file_(path),
        name_(path) {}

  [[nodiscard]] std::string family() const {
    return model_family_of(description_.at("model_type").as_string());
  }
  [[nodiscard]] std::string title() const { return description_.at("case").as_string(); }

  std::vector<Difference> differences(const VerifyOptions& options) const {
    const QuietLog quiet;
    const auto layer = convert_model_layer(weights(), description_.at("config"), family(),
                                           *description_.at("layer").to_int64(), options.dtype);
    if (!layer) throw InvalidArgument(name_ + ": this layer is not attention");
    const Array hidden = file_.read("hidden_states").astype(options.dtype),
                expected = file_.read("output"), keep = file_.read("keep"),
                positions = file_.read("positions");
    const auto state = layer->make_state(hidden.shape()[0], hidden.shape()[1]);
    Context ctx(options.dtype);
    std::vector<Difference> found;
    int64_t begin = 0;
    for (const Json& count : description_.at("calls").as_list()) {
      const int64_t end = begin + *count.to_int64();
      const auto part = [&](const Array& a) { return conversion::sliced(a, 1, begin, end); };
      const Array x = part(hidden), at = part(positions),
                  mask = conversion::sliced(keep, 1, 0, end);
      layer->forward(
          ctx,
          std::vector<Input>{
              {"inputs", x.view()}, {"attention_mask", mask.view()}, {"positions", at.view()}},
          CallOptions{.seed = 0, .state = state.get()});
      Array y = Array::copy_of(*ctx.output("output"));
      clear_padding(y, part(keep));
      // The weights are float32; what float64 makes of them is compared as such.
      if (auto d = compare_scaled("output", y.view(), part(expected).view(),
                                  options.dtype == ATTN_F64 ? 1e-9 : 1e-5)) {
        d->text =
            "tokens " + std::to_string(begin) + " to " + std::to_string(end - 1) + ": " + d->text;
        found.push_back(*d);
      }
      begin = end;
    }
    return found;
  }

 private:
  [[nodiscard]] TensorSet weights() const {
    static constexpr std::string_view kWeight = "weight/";
    TensorSet out{.name = name_};
    for (const SafetensorsEntry& e : file_.entries())
      if (e.name.starts_with(kWeight)) out.shapes.emplace(e.name.substr(kWeight.size()), e.shape);
    out.read = [this](const std::string& tensor) {
      return file_.read(std::string(kWeight) + tensor);
    };
    return out;
  }

  Json description_;
  SafetensorsFile file_;
  std::string name_;
};

}  // namespace

bool is_model_case(const std::string& path) {
  std::error_code ec;
  const std::string text = description_of(path);
  if (!std::filesystem::is_regular_file(text, ec)) return false;
  const Json description = parse_config(read_text_file(text, "a case's description"), text);
  const Json* format = description.find("format");
  return format && *format == Json(kFormat);
}

void verify_model(const std::string& path, const VerifyOptions& options, VerifyReport& report) {
  std::string title = path;
  try {
    const ModelCase one(path);
    title = one.family() + "/" + one.title();
    const std::string type = model_families().at(one.family()).at("type").as_string();
    if (!type_is_loaded(type)) return report.skip(type);
    const std::vector<Difference> differences = one.differences(options);
    if (differences.empty())
      report.pass();
    else
      report.fail(title, path, differences);
  } catch (const std::exception& e) {
    report.fail(title, path, e.what());
  }
}

}  // namespace attn::cli
