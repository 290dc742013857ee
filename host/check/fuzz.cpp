// SPDX-License-Identifier: Apache-2.0
#include "host/check/fuzz.hpp"

#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>

#include <chrono>
#include <filesystem>

#include "host/check/child.hpp"
#include "host/check/subject.hpp"
#include "host/check/values.hpp"
#include "host/library/loader/elf_note.hpp"

namespace attn::check {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

constexpr double kBatch = 2, kHang = 20;  // seconds of cases in one child, and at most of one case
constexpr size_t kMostFailures = 5;

class FuzzCase {
 public:
  FuzzCase(Subject& s, uint64_t number)
      : s_(s), number_(number), random_(s.random("fuzz", number)) {}

  // What does not hold; empty: all does.
  std::string run() {
    const auto sample = find();
    if (!sample) return "";
    tell(*sample, "a call");
    const attn_dtype dtype = random_.chance(0.3) ? ATTN_F64 : ATTN_F32;
    const auto layer = s_.layer(*sample, dtype, random_.pick<double>({0, 0.3, 3}));
    const std::vector<NamedOutput> first = call(*layer, *sample);
    if (std::string bad = compare_shapes(*layer, *sample, first, dtype); !bad.empty()) return bad;
    for (int64_t n = random_.between(1, 4); n > 0; --n)
      if (std::string bad = step(*layer, *sample, dtype); !bad.empty()) return bad;
    tell(*sample, "the first call again");
    const std::string difference = first_difference(call(*layer, *sample), first);
    return difference.empty() ? ""
                              : "the first call, repeated, gives something else: " + difference;
  }

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void tell(const Sample& sample, const char* what) {
    text_ = sample.type + " " + sample.text();
    s_.doing("#" + std::to_string(number_) + " " + what + " of " + text_);
  }

  Sizes sizes() {
    Sizes z;
    z.batch = random_.between(1, 4);
    z.length = random_.chance(0.2) ? random_.between(30, 70) : random_.between(1, 20);
    z.keys = random_.between(1, 20);
    z.optional = random_.chance(0.7);
    z.form = static_cast<size_t>(random_.below(3));
    const auto masks = s_.masks();
    if (!masks.empty() && random_.chance(0.6)) {
      z.mask = random_.pick(masks)->name;
      z.mask_form = static_cast<size_t>(random_.below(4));
      z.mask_kind = random_.pick<attn_dtype>({ATTN_BOOL, ATTN_F32, ATTN_I32, ATTN_U8});
    }
    return z;
  }

  Json config() {
    Json config = s_.config();
    const attn_type& t = s_.type();
    const double share = random_.pick<double>({0.05, 0.2, 0.5});
    for (uint32_t i = 0; i < t.n_params; ++i) {
      if (!random_.chance(share)) continue;
      const attn_param& p = *t.params[i];
      const Json* now = config.find(p.name);
      const std::vector<Json> values = other_values(p, now ? *now : Json());
      if (!values.empty()) config.set(p.name, random_.pick(values));
      if (p.kind == ATTN_PARAM_INT && random_.chance(0.4))
        config.set(p.name, random_.between(-1, 40));
      if (p.kind == ATTN_PARAM_REAL && random_.chance(0.4))
        config.set(p.name, random_.uniform(-1, 3));
    }
    return config;
  }

  std::optional<Sample> find() {
    for (int attempt = 0; attempt < 40; ++attempt) {
      const Json tried = config();
      s_.doing("#" + std::to_string(number_) + " a layer of " + tried.dump());
      auto sample = s_.find_sample(tried, sizes());
      if (!sample) continue;
      const attn_type& t = s_.type();
      for (uint32_t i = 0; i < t.n_args; ++i) {
        if (!random_.chance(0.5)) continue;
        Sample with_argument = sample->clone();
        int64_t positions = 1;
        const Shape& shape = sample->tensors.front().value.shape();
        for (size_t axis = 1; axis + 1 < shape.size(); ++axis) positions *= shape[axis];
        with_argument.arguments.set(t.args[i]->name,
                                    random_.pick(argument_values(*t.args[i], positions)));
        tell(with_argument, "the arguments");
        if (accepts(with_argument)) sample = std::move(with_argument);
      }
      return sample;
    }
    return std::nullopt;
  }

  static bool accepts(const Sample& sample) {
    try {
      const auto layer = create_attention_layer(sample.type, sample.config);
      static_cast<void>(call(*layer, sample));
      return true;
    } catch (const InvalidArgument&) {
      return false;
    }
  }

  static std::string compare_shapes(Attention& layer, const Sample& sample,
                                    const std::vector<NamedOutput>& outputs, attn_dtype dtype) {
    if (dtype != ATTN_F32) return "";
    const cli::CallArguments arguments = sample.call_arguments();
    const auto shapes = layer.output_shapes(sample.inputs(), {.arguments = arguments.view()});
    for (size_t i = 0; i < outputs.size(); ++i)
      if (i >= shapes.size() || shapes[i].second != outputs[i].value.shape())
        return "output_shapes() says something else than the call gives for " + outputs[i].name;
    return "";
  }

  // Something else that may happen to a layer.
  std::string step(Attention& layer, const Sample& sample, attn_dtype dtype) {
    try {
      switch (random_.below(5)) {
        case 0:
          return train(layer, sample, dtype);
        case 1: {
          Sample other = sample.clone();
          Array& x = other
                         .tensors[static_cast<size_t>(
                             random_.below(static_cast<int64_t>(other.tensors.size())))]
                         .value;
          Shape shape = x.shape();
          if (shape.empty()) return "";
          int64_t& n = shape[static_cast<size_t>(random_.below(shape.rank()))];
          n = std::max<int64_t>(0, n + random_.between(-2, 2));
          x = Array(x.dtype(), shape);
          tell(other, "a call of other shapes,");
          static_cast<void>(call(layer, other));
          return "";
        }
        case 2: {
          Sample other = sample.clone();
          Array& x = other.tensors.front().value;
          const float odd = random_.pick<float>({NAN, INFINITY, -INFINITY, 3e38F, 1e-42F, 0});
          for (int64_t i = 0; i < x.size(); ++i)
            if (random_.chance(0.2)) x.data<float>()[i] = odd;
          tell(other, "a call with odd numbers");
          static_cast<void>(call(layer, other));
          return "";
        }
        case 3:
          return decode(layer, sample, dtype);
        default:
          return "";
      }
    } catch (const InvalidArgument&) {
      return "";
    }
  }

  std::string train(Attention& layer, const Sample& sample, attn_dtype dtype) {
    if (dtype != ATTN_F32) return "";
    tell(sample, "a training step");
    const cli::CallArguments arguments = sample.call_arguments();
    Context ctx;
    layer.forward(ctx, sample.inputs(),
                  {.training = true, .record = true, .seed = 3, .arguments = arguments.view()});
    const std::string name = layer.type().outputs[0]->name;
    const Array cotangent = Array::copy_of(*ctx.output(name));
    const Input given(name, cotangent.view());
    Gradients gradients(layer);
    layer.backward(ctx, {&given, 1}, gradients);
    return "";  // not committed: the layer is as it was
  }

  std::string decode(Attention& layer, const Sample& sample, attn_dtype dtype) {
    if (!layer.has_state() || dtype != ATTN_F32) return "";
    tell(sample, "calls with a state");
    const cli::CallArguments arguments = sample.call_arguments();
    const int64_t batch = sample.tensors.front().value.shape()[0];
    const auto state = layer.make_state(batch, random_.between(1, 80));
    Context ctx;
    for (int i = 0; i < 4; ++i) {
      layer.forward(ctx, sample.inputs(),
                    {.seed = 3, .arguments = arguments.view(), .state = state.get()});
      if (random_.chance(0.4)) state->truncate(random_.between(0, state->length()));
      if (random_.chance(0.2)) state->reset();
    }
    return "";
  }

  Subject& s_;
  uint64_t number_;
  Random random_;
  std::string text_{};
};

// The number behind '#' in what a child was doing.
std::optional<uint64_t> number_in(const std::string& doing) {
  if (!doing.starts_with('#')) return std::nullopt;
  return std::strtoull(doing.c_str() + 1, nullptr, 10);
}

}  // namespace

FuzzReport run_fuzz(const std::string& file, const FuzzOptions& options) {
  std::error_code error;
  FuzzReport report{.file = std::filesystem::absolute(file, error).lexically_normal().string(),
                    .seed = options.seed};
  const auto read = loader::read_note(report.file, false);
  if (const auto* refusal = std::get_if<loader::Refusal>(&read))
    throw InvalidArgument(
        "'" + file + "' cannot be read as a plugin: " + refusal->text(),
        {.where = file, .value = file, .expected = refusal->expected, .hint = refusal->hint});
  const std::vector<std::string> types = std::get<loader::PluginNote>(read).types;
  if (types.empty()) throw InvalidArgument("'" + file + "' has no types to try", {.where = file});
  const Clock::time_point begin = Clock::now();
  uint64_t next = options.only.value_or(0);
  do {
    const double left = options.only ? kHang : std::min(kBatch, options.seconds - since(begin));
    // A child tries cases for a while and says how far it came.
    const ChildResult child = run_in_child(left + kHang, [&](const Doing& doing) {
      set_log_sink([](LogLevel, std::string_view) {});
      std::vector<Subject> subjects;
      for (const std::string& type : types)
        subjects.emplace_back(SubjectOptions{.file = report.file,
                                             .type = type,
                                             .plugin_path = options.plugin_path,
                                             .quick = true,
                                             .seed = options.seed,
                                             .doing = doing});
      const Clock::time_point start = Clock::now();
      uint64_t n = next;
      do {
        FuzzCase one(subjects[n % subjects.size()], n);
        std::string bad;
        try {
          bad = one.run();
        } catch (const std::exception& e) {
          bad = std::string("throws: ") + e.what();
        }
        if (!bad.empty()) {
          doing("#" + std::to_string(n));
          return failed(bad, one.text());
        }
        ++n;
      } while (!options.only && since(start) < left);
      return passed(std::to_string(n));
    });
    uint64_t reached = next + 1;
    if (child.outcome.verdict == Verdict::failed) {
      const uint64_t number = number_in(child.doing).value_or(next);
      reached = number + 1;
      report.failures.push_back({number, child.outcome,
                                 "attn check " + report.file + " --seed " +
                                     std::to_string(options.seed) + " --case " +
                                     std::to_string(number)});
    } else if (child.outcome.verdict == Verdict::passed) {
      reached = std::strtoull(child.outcome.message.c_str(), nullptr, 10);
    }
    report.cases += reached - next;
    next = reached;
    if (options.progress) options.progress(report.cases);
  } while (!options.only && since(begin) < options.seconds &&
           report.failures.size() < kMostFailures);
  report.seconds = since(begin);
  return report;
}

}  // namespace attn::check
