// SPDX-License-Identifier: Apache-2.0
#include "host/cli/profile.hpp"

#include <fmt/format.h>

#include "host/cli/print.hpp"

namespace attn::cli {

Cost total(const std::vector<OperatorTime>& profile) {
  Cost sum;
  for (const OperatorTime& op : profile) {
    sum.flops += op.flops;
    sum.bytes += op.bytes;
    sum.seconds += op.seconds;
  }
  return sum;
}

Json profile_json(const std::vector<OperatorTime>& profile) {
  const Cost all = total(profile);
  Json list = Json::list({});
  for (const OperatorTime& op : profile)
    list.push_back({{"operator", op.name},
                    {"label", op.label},
                    {"shape", op.shape.to_vector()},
                    {"ms", op.seconds * 1e3},
                    {"flops", op.flops},
                    {"bytes", op.bytes},
                    {"share", all.seconds > 0 ? op.seconds / all.seconds : 0.0}});
  return list;
}

std::string profile_text(const std::vector<OperatorTime>& profile, double seconds,
                         size_t peak_bytes) {
  const Cost all = total(profile);
  Table table({"OPERATOR", "LABEL", "SHAPE", "MS", "SHARE", "FLOPS", "BYTES", "GFLOP/S"},
              "lllrrrrr");
  const auto add = [&](const std::string& name, const std::string& label, const std::string& shape,
                       const Cost& c) {
    table.add({name, label, shape, fmt::format("{:.3f}", c.seconds * 1e3),
               fmt::format("{:.1f} %", all.seconds > 0 ? 100 * c.seconds / all.seconds : 0.0),
               human_count(c.flops), human_bytes(c.bytes),
               c.seconds > 0 ? fmt::format("{:.1f}", c.flops / c.seconds / 1e9) : "-"});
  };
  for (const OperatorTime& op : profile)
    add(op.name, op.label.empty() ? "-" : op.label, op.shape.to_string(),
        {op.flops, op.bytes, op.seconds});
  add("all", "-", "-", all);
  return table.text() +
         fmt::format("call {:.3f} ms, {:.3f} ms of it outside operators; working memory {}\n",
                     seconds * 1e3, (seconds - all.seconds) * 1e3,
                     human_bytes(static_cast<double>(peak_bytes)));
}

}  // namespace attn::cli
