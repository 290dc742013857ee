// SPDX-License-Identifier: Apache-2.0
//
// Files that are replaced while the process runs.
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/plugins.hpp>
#include <catch2/catch.hpp>

#include <atomic>
#include <deque>
#include <set>
#include <sstream>
#include <thread>

#include "tests/loader/fixtures.hpp"

using namespace attn;
using namespace attn::loader;
using namespace attn::loader::test;

namespace {

// A new file under the same name.
void rename_over(const std::string& path, const std::string& content) {
  write_file(path + ".new", content);
  fs::rename(path + ".new", path);
}

// What the type of a registry says of itself; "" when it has none.
std::string description(Registry& registry, const std::string& id) {
  const auto found = registry.find_type(id);
  return found ? found->type->description : "";
}

std::string plain_with(const std::string& name, const std::string& text) {
  std::string file = read_file(fixture(name));
  const std::string before = "Hands its input through.";
  const std::size_t at = file.find(before);
  REQUIRE(at != std::string::npos);
  return file.replace(at, text.size(), text);
}

// The inodes that code of such files is mapped from.
std::set<std::string> mapped(const std::string& name) {
  std::istringstream maps(read_file("/proc/self/maps"));
  std::set<std::string> inodes;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights, offset, device, inode;
    words >> range >> rights >> offset >> device >> inode;
    if (line.find(name) != std::string::npos && rights[2] == 'x') inodes.insert(inode);
  }
  return inodes;
}

constexpr const char* kType = "fixture.swap";
const int kCycles = attn::test::sanitized ? 100 : 1000;

// What a layer multiplies by; 0: not the same number everywhere.
float factor(Attention& layer) {
  Array x(ATTN_F32, {1, 4, 8});
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = static_cast<float>(i + 1);
  const Array y = layer.forward(x);
  const float first = y.data<float>()[0];
  for (int64_t i = 0; i < x.size(); ++i)
    if (y.data<float>()[i] != first * x.data<float>()[i]) return 0;
  return first;
}

struct KeptLayer {
  std::unique_ptr<Attention> layer;
  float factor;
};

// Makes layers and calls old and new ones; what went wrong, or "".
std::string call_until(const std::atomic<bool>& stop, std::atomic<int>& calls, unsigned seed) {
  std::deque<KeptLayer> kept;
  try {
    while (!stop.load()) {
      auto layer = create_attention_layer(kType);
      const float now = factor(*layer);
      if (now != 2 && now != 3) return "a layer gives neither product";
      kept.push_back({std::move(layer), now});
      if (kept.size() > 16) kept.pop_front();
      const KeptLayer& old = kept[(seed = seed * 1103515245 + 12345) / 65536 % kept.size()];
      if (factor(*old.layer) != old.factor) return "a layer gives another product than before";
      calls += 2;
    }
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("reload: a replaced file serves new layers, what was made of the old one stays") {
  const TempDir dir;
  const std::string path = dir.add("good"), first = read_file(path);
  Registry registry(options({dir.path()}), hooks());
  const RegisteredType old = registry.type("fixture.good");
  const std::string second = read_file(fixture("twice_a"));
  SECTION("renamed over") { rename_over(path, second); }
  SECTION("overwritten in place") { write_file(path, second); }
  SECTION("deleted and written anew") {
    fs::remove(path);
    write_file(path, second);
  }
  registry.rescan();
  CHECK(registry.type("fixture.twice").path == path);
  CHECK(file_of(registry.report(), path).name == "twice_a");
  CHECK(registry.report().files.size() == 1);
  attn_layer* layer = nullptr;
  attn_error error{};
  const attn_value size{ATTN_VALUE_I64, 0, {1}};
  CHECK(old.type->create(&size, &layer, &error) == ATTN_OK);
  old.type->destroy(layer);
  // No file has the name any more: it stays with the code that had it.
  CHECK(registry.type("fixture.good").type == old.type);
  write_file(path, first);
  registry.rescan();
  CHECK(registry.type("fixture.good").type == old.type);  // the same code is not mapped again
  CHECK(registry.find_type("fixture.twice"));
}

TEST_CASE("reload: a name goes where the files say, as in a process that starts") {
  const TempDir one, two;
  const std::string path = two.add("twice_a", "a");
  Registry registry(options({one.path(), two.path()}), hooks());
  CHECK(registry.type("fixture.twice").path == path);
  SECTION("to a file in an earlier directory") {
    one.add("twice_b", "b");
    registry.rescan();
    CHECK(registry.type("fixture.twice").path == one / "b.so");
    CHECK(file_of(registry.report(), path).code == "duplicate");
  }
  SECTION("to another file when its own is gone") {
    fs::remove(path);
    two.add("twice_b", "b");
    registry.rescan();
    CHECK(registry.type("fixture.twice").path == two / "b.so");
    CHECK(registry.report().files.size() == 1);
  }
}

TEST_CASE("reload: a bad replacement is refused, and what was loaded stays in use") {
  const TempDir dir;
  const std::string path = dir.add("slow");
  Registry registry(options({dir.path()}), hooks());
  const attn_type* type = registry.type("fixture.slow").type;
  std::string code;
  SECTION("half a file") {
    write_file(path, read_file(fixture("good")).substr(0, 5000));
    code = "truncated";
  }
  SECTION("one that crashes") {
    rename_over(path, read_file(fixture("crash")));
    code = "crashed";
  }
  SECTION("one with the build id of loaded code") {
    rename_over(path, plain_with("slow", "Says something else.   "));
    code = "changed";
  }
  registry.rescan();
  CHECK(registry.type("fixture.slow").type == type);
  const PluginFile file = file_of(registry.report(), path);
  if (!attn::test::sanitized) CHECK(file.code == code);
  CHECK(file.hint.find("what was loaded from it before stays in use") != std::string::npos);
  registry.rescan();  // the reason is there every time; last words of a crash may name a process
  CHECK_FALSE(file.code.empty());
  CHECK(file_of(registry.report(), path).code == file.code);
  CHECK(file_of(registry.report(), path).hint.find("stays in use") != std::string::npos);
  rename_over(path, read_file(fixture("good")));
  registry.rescan();
  CHECK(file_of(registry.report(), path).state == PluginFile::State::loaded);
  CHECK(description(registry, "fixture.good") == "Hands its input through.");
}

TEST_CASE("reload: a plugin keeps the operators that it found") {
  const TempDir dir;
  const std::string path = dir.add("operator"), user = dir.add("a_user");
  Registry registry(options({dir.path()}), hooks());
  const attn_op_ref* op = registry.find_op("fixture.op", 1);
  REQUIRE(op != nullptr);
  REQUIRE(registry.find_type("fixture.user"));
  fs::remove(path);
  registry.rescan();
  CHECK(registry.find_op("fixture.op", 1) == op);
  // One that comes later may use them, too.
  fs::remove(user);
  registry.rescan();
  dir.add("few_attributes");
  registry.rescan();
  CHECK(file_of(registry.report(), dir / "few_attributes.so").problem.find("(there are 1)") !=
        std::string::npos);
}

TEST_CASE("reload: cycles of replacing under four threads of calls lose nothing") {
  const std::string contents[] = {read_file(fixture("replaced/swap_2")),
                                  read_file(fixture("replaced/swap_3"))};
  const TempDir dir;
  const std::string path = dir / "swap.so";
  write_file(path, contents[0]);
  load_plugin(path);
  std::atomic<bool> stop{false};
  std::atomic<int> calls{0};
  std::vector<std::string> faults(4);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < faults.size(); ++i)
    threads.emplace_back([&, i] { faults[i] = call_until(stop, calls, i); });
  int wrong = 0, refused = 0;
  for (int i = 1; i <= kCycles; ++i) {
    const std::string& content = contents[i % 2];
    if (i % 3 == 0) {
      rename_over(path, content);
    } else if (i % 20 == 0) {  // looked at in the middle of being written
      write_file(path, content.substr(0, content.size() / 2));
      rescan_plugins();
      refused += file_of(plugin_report(), path).state == PluginFile::State::refused;
      write_file(path, content);
    } else {
      write_file(path, content);
    }
    rescan_plugins();
    wrong += factor(*create_attention_layer(kType)) != static_cast<float>(2 + i % 2);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(refused == kCycles / 20 - kCycles / 60);
  for (const std::string& fault : faults) CHECK(fault == "");
  CHECK(calls > kCycles / 10);
  CHECK(mapped("swap.so").size() == 2);
}
