// SPDX-License-Identifier: Apache-2.0
#include "host/cli/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace attn::cli {

namespace {

std::string rates(const kernels::Machine& machine, double kernels::Bandwidth::*rate) {
  std::string text;
  for (int i = 0; i < kernels::kMemoryLevels; ++i)
    if (const double x = machine.memory[static_cast<size_t>(i)].*rate; x > 0)
      text += fmt::format("{}{} {:.1f}", text.empty() ? "" : ", ",
                          kernels::name(static_cast<kernels::MemoryLevel>(i)), x);
  return text;
}

// "fma", or which way of which memory: "read L2".
std::string bound_text(const kernels::Limit& l) {
  const std::string bound = kernels::name(l.bound);
  return l.bound == kernels::Bound::fma ? bound : bound + " " + kernels::name(l.level);
}

}  // namespace

Cost total(const std::vector<OperatorTime>& profile) {
  Cost sum;
  for (const OperatorTime& op : profile) {
    sum.flops += op.flops;
    sum.bytes += op.bytes;
    sum.seconds += op.seconds;
  }
  return sum;
}

kernels::Work work_of(const OperatorTime& op) {
  const double written = std::min(op.given, op.bytes);
  return {op.flops, op.bytes - written, written, op.held};
}

double rounded(double x) { return std::strtod(fmt::format("{:.6g}", x).c_str(), nullptr); }

Json profile_json(const std::vector<OperatorTime>& profile, const kernels::Machine* machine) {
  const Cost all = total(profile);
  Json list = Json::list({});
  for (const OperatorTime& op : profile) {
    Json row = {{"operator", op.name},
                {"label", op.label},
                {"shape", op.shape.to_vector()},
                {"ms", op.seconds * 1e3},
                {"flops", op.flops},
                {"bytes", op.bytes},
                {"scratch_bytes", op.scratch},
                {"slices", op.slices},
                {"way", op.way},
                {"share", all.seconds > 0 ? op.seconds / all.seconds : 0.0}};
    if (machine && op.counted && op.seconds > 0) {
      const kernels::Limit l = limit_of(work_of(op), *machine);
      row.set("ms_limit", rounded(l.seconds * 1e3));
      row.set("bound", kernels::name(l.bound));
      row.set("level", kernels::name(l.level));
      row.set("share_of_limit", rounded(l.seconds / op.seconds));
    }
    list.push_back(row);
  }
  return list;
}

Table profile_table(const std::vector<OperatorTime>& profile, const kernels::Machine* machine) {
  const Cost all = total(profile);
  std::vector<std::string> head{"#",     "OPERATOR", "LABEL", "OUTPUT",  "MS",
                                "SHARE", "FLOPS",    "BYTES", "SCRATCH", "GFLOP/S"};
  if (machine) head.insert(head.end(), {"BOUND", "OF BOUND"});
  Table table(head, "rlllrrrrrrlr");
  const auto add = [&](const std::string& number, const OperatorTime& op) {
    const auto known = [&](const std::string& text) { return op.counted ? text : "?"; };
    std::vector<std::string> row{
        number,
        op.name,
        op.label.empty() ? "-" : op.label,
        op.shape.rank() == 0 && op.name == "all" ? "-" : op.shape.to_string(),
        fmt::format("{:.3f}", op.seconds * 1e3),
        fmt::format("{:.1f} %", all.seconds > 0 ? 100 * op.seconds / all.seconds : 0.0),
        known(human_count(op.flops)),
        known(human_bytes(op.bytes)),
        op.scratch ? human_bytes(static_cast<double>(op.scratch)) : "-",
        op.counted && op.seconds > 0 ? fmt::format("{:.1f}", op.flops / op.seconds / 1e9) : "-"};
    if (machine && op.counted && op.seconds > 0 && op.name != "all") {
      const kernels::Limit l = limit_of(work_of(op), *machine);
      row.push_back(bound_text(l));
      row.push_back(fmt::format("{:.0f} %", 100 * l.seconds / op.seconds));
    } else if (machine) {
      row.insert(row.end(), {"-", "-"});
    }
    table.add(row);
  };
  for (size_t i = 0; i < profile.size(); ++i) add(std::to_string(i + 1), profile[i]);
  OperatorTime sum;
  sum.name = "all";
  sum.counted = true;
  sum.seconds = all.seconds, sum.flops = all.flops, sum.bytes = all.bytes;
  for (const OperatorTime& op : profile) sum.scratch = std::max(sum.scratch, op.scratch);
  add("", sum);
  return table;
}

std::string profile_text(const std::vector<OperatorTime>& profile, double seconds,
                         size_t peak_bytes, const kernels::Machine* machine) {
  const double inside = total(profile).seconds;
  return profile_table(profile, machine).text() +
         fmt::format("call {:.3f} ms, {:.3f} ms of it outside operators; working memory {}\n",
                     seconds * 1e3, (seconds - inside) * 1e3,
                     human_bytes(static_cast<double>(peak_bytes)));
}

std::string machine_text(const kernels::Machine& machine) {
  return fmt::format("FMA peak {:.1f} GFLOP/s; GB/s of reads: {}; of copies: {}", machine.peak,
                     rates(machine, &kernels::Bandwidth::read),
                     rates(machine, &kernels::Bandwidth::copy));
}

}  // namespace attn::cli
