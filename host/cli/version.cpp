// SPDX-License-Identifier: Apache-2.0
#include "host/cli/version.hpp"

#include <attn/sdk/abi.h>
#include <attn/version.hpp>

#include "core/cpu/level.hpp"
#include "host/cli/print.hpp"

namespace attn::cli {

namespace {
std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}
}  // namespace

Json short_version_facts() {
  return {{"version", version()},
          {"commit", commit()},
          {"abi", std::to_string(ATTN_ABI_MAJOR) + "." + std::to_string(ATTN_ABI_MINOR)},
          {"compiler", compiler()}};
}

Json version_facts() {
  Json facts = short_version_facts();
  facts.set("cpu_level", cpu::name(cpu::level()));
  facts.set("cpu", cpu::describe());
  return facts;
}

void print_version(bool json) {
  const Json facts = version_facts();
  if (json) return print_line(facts.dump(1));
  const auto text = [&](const char* key) { return facts.at(key).as_string(); };
  print_line("attn " + text("version") + " (" + text("commit") + ")");
  print_line("ABI       " + text("abi"));
  print_line("compiler  " + text("compiler"));
  print_line("CPU       " + text("cpu_level") + ": " + text("cpu"));
}

}  // namespace attn::cli
