// SPDX-License-Identifier: Apache-2.0
//
// The entry, and init() and deinit(), called as no careful host would.
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

#include "core/engine/op_ref.hpp"
#include "host/check/child.hpp"
#include "host/check/library/lists.hpp"
#include "host/check/subject.hpp"

namespace attn::check {
namespace {

using Entry = const attn_plugin* (*)();

Entry entry_of(Subject& s) {
  const auto entry = reinterpret_cast<Entry>(::dlsym(s.library(), "attn_plugin_v1"));
  if (!entry) throw Failure("it does not export attn_plugin_v1");
  return entry;
}

std::string bytes_of(const attn_plugin& table) {
  return std::string(reinterpret_cast<const char*>(&table), table.struct_size);
}

Outcome entry_repeats(Subject& s) {
  const attn_plugin& table = s.table();
  const std::string before = bytes_of(table);
  const Entry entry = entry_of(s);
  for (int i = 0; i < 100; ++i)
    if (entry() != &table)
      return failed(
          "attn_plugin_v1() gives another table each time; it must return one constant table");
  if (bytes_of(table) != before)
    return failed(
        "attn_plugin_v1() changes its table when it is called again; the table is constant");
  return passed("100 calls");
}

Outcome entry_from_threads(Subject& s) {
  const Entry entry = entry_of(s);
  constexpr int kThreads = 8;
  std::atomic<int> ready{0};
  const attn_plugin* tables[kThreads] = {};
  uint32_t types[kThreads] = {};
  std::vector<std::thread> threads;
  s.doing("attn_plugin_v1() on eight threads at once");
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      ++ready;
      while (ready < kThreads) {
      }
      tables[i] = entry();
      types[i] = tables[i] ? tables[i]->n_types + tables[i]->n_ops : 0;
    });
  for (std::thread& t : threads) t.join();
  for (int i = 0; i < kThreads; ++i)
    if (!tables[i] || tables[i] != tables[0] || types[i] != types[0] || types[i] == 0)
      return failed(
          "attn_plugin_v1() gives threads that call it at once different tables, or one that is "
          "not "
          "filled in yet; make the table once, as a static object",
          "thread " + std::to_string(i) + " sees " + std::to_string(types[i]) +
              " types and operators, another " + std::to_string(types[0]));
  return passed("8 threads");
}

std::string code_text(int32_t code, const attn_error& error) {
  return "code " + std::to_string(code) + ": " +
         one_line(std::string(error.message, ::strnlen(error.message, sizeof error.message)));
}

// The slots of the operators that it uses are filled in by then.
Outcome init_twice(Subject& s) {
  const attn_plugin& table = s.loaded_table();
  if (!table.init) return skipped("it has no init()");
  s.doing("init() a second time");
  attn_error error{};
  if (const int32_t code = table.init(engine::engine_table(), &error); code != ATTN_OK)
    return failed(
        "init() refuses to run again, as it may for two hosts in one process; let it do nothing "
        "then",
        code_text(code, error));
  return passed();
}

// As two hosts do that end with their process.
Outcome deinit_twice(Subject& s) {
  const attn_plugin& table = s.loaded_table();
  if (!table.deinit) return skipped("it has no deinit()");
  attn_error ignored{};  // init_twice tells
  if (table.init) static_cast<void>(table.init(engine::engine_table(), &ignored));
  s.doing("deinit()");
  table.deinit();
  s.doing("deinit() a second time, after init() ran twice, as for two hosts in one process");
  table.deinit();
  return passed();
}

// As a host does that was told to look again while the old file is in use.
Outcome second_copy(Subject& s) {
  const attn_plugin& first = s.table();
  namespace fs = std::filesystem;
  const fs::path copy =
      fs::temp_directory_path() / ("attn-check-" + std::to_string(::getpid()) + ".so");
  fs::copy_file(s.file(), copy, fs::copy_options::overwrite_existing);
  s.doing("a copy of the file, opened beside it");
  void* library = ::dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
  const std::string why = library ? "" : ::dlerror();
  fs::remove(copy);
  if (!library) return failed("a copy of the file cannot be opened beside it", one_line(why));
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "attn_plugin_v1"));
  const attn_plugin* second = entry ? entry() : nullptr;
  if (!second) return failed("a copy of the file, opened beside it, gives no table");
  if (second == &first)
    return failed(
        "a copy of the file, opened beside it, gives the table of the first; hide its symbols, as "
        "attn_add_plugin() does, so that builds of it can stand side by side");
  if (second->n_types != first.n_types || second->n_ops != first.n_ops)
    return failed("a copy of the file, opened beside it, offers something else",
                  std::to_string(second->n_types) + " types and " + std::to_string(first.n_types));
  return passed();
}

Outcome license(Subject& s) {
  const std::string text = s.table().license ? s.table().license : "";
  const bool shaped = text.find_first_not_of(
                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                          ".-+() ") == std::string::npos;
  if (!text.empty() && shaped) return passed(text);
  return failed(
      "the licence is no SPDX expression; expected one such as Apache-2.0, which tools can read",
      one_line("\"" + text + "\""));
}

}  // namespace

std::span<const Test> entry_tests() {
  static constexpr Test kTests[] = {
      {.name = "entry_repeats",
       .promise = "attn_plugin_v1() returns the same constant table every time.",
       .run = entry_repeats,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "entry_from_threads",
       .promise = "Threads that call attn_plugin_v1() at once all get the finished table.",
       .run = entry_from_threads,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "init_twice",
       .promise = "init() may be called again before deinit().",
       .run = init_twice,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "deinit_twice",
       .promise = "deinit() may be called as often as init().",
       .run = deinit_twice,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "second_copy",
       .promise = "Two copies of the file can be loaded side by side.",
       .run = second_copy,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "license",
       .promise = "The plugin names its licence as an SPDX expression.",
       .run = license,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
  };
  return kTests;
}

}  // namespace attn::check
