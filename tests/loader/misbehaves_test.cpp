// SPDX-License-Identifier: Apache-2.0
//
// What a plugin throws, wherever it throws it, arrives as an error of the library.
#include <attn/factory.hpp>
#include <attn/plugins.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include "core/error/error.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn;

namespace {

constexpr const char* kVariable = "ATTN_FIXTURE_MISBEHAVES";

Array input() {
  Array x(ATTN_F32, {8, 16});
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = static_cast<float>(i);
  return x;
}

void use(Attention& layer) {
  const Array x = input();
  Context ctx;
  layer.forward(ctx, {{Input(x)}}, {.record = true});
  Gradients gradients(layer);
  layer.backward(ctx, {{Input(x)}}, gradients);
}

// The message of the Failure; what came instead in brackets.
template <class F>
std::string failure(F&& f) {
  try {
    f();
    return "[nothing]";
  } catch (const Failure& e) {
    CHECK(e.details().type == "fixture.misbehaves");
    return e.what();
  } catch (const std::exception& e) {
    return std::string("[another] ") + e.what();
  } catch (...) {
    return "[no std::exception]";
  }
}

}  // namespace

TEST_CASE(
    "misbehaves: what is thrown is a Failure that names call and plugin; the layer stays usable") {
  const std::string path = attn::loader::test::fixture("computing/misbehaves");
  load_plugin(path);
  const int before = thread_count();
  set_threads(4);
  const std::pair<const char*, const char*> whats[] = {{"exception", "no luck in "},
                                                       {"int", "unknown exception"},
                                                       {"bad_alloc", "not enough memory"}};
  const std::pair<const char*, const char*> places[] = {
      {"create", "create"},   {"resolved", "resolved"}, {"build", "build"},
      {"forward", "forward"}, {"worker", "forward"},    {"backward", "backward"}};
  for (const auto& [place, named] : places)
    for (const auto& [what, text] : whats) {
      INFO(place << ":" << what);
      std::unique_ptr<Attention> layer;
      const bool making = std::string(place) == "create" || std::string(place) == "resolved";
      const auto make = [&] { layer = create_attention_layer("fixture.misbehaves"); };
      if (!making) make();
      ::setenv(kVariable, (std::string(place) + ":" + what).c_str(), 1);
      const std::string message = making ? failure(make) : failure([&] { use(*layer); });
      ::unsetenv(kVariable);
      CHECK_THAT(message, Catch::Contains(text) && Catch::Contains(std::string(named) + "()") &&
                              Catch::Contains(path));
      if (making) make();
      CHECK_NOTHROW(use(*layer));
    }
  auto layer = create_attention_layer("fixture.misbehaves");
  ::setenv(kVariable, "destroy:exception", 1);
  CHECK_NOTHROW(layer.reset());
  ::unsetenv(kVariable);
  set_threads(before);
}
