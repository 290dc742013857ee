// SPDX-License-Identifier: Apache-2.0
//
// What a plugin throws, wherever it throws it, arrives as an error of the library.
#include <attn/claims.hpp>
#include <attn/factory.hpp>
#include <attn/plugins.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include "core/error/error.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn;

namespace {

constexpr const char* kVariable = "ATTN_FIXTURE_MISBEHAVES";

Array input(int64_t rows = 8) {
  Array x(ATTN_F32, {rows, 16});
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

// While a place of the plugin throws.
template <class F>
std::string failure_in(const std::string& place, F&& f) {
  ::setenv(kVariable, (place + ":exception").c_str(), 1);
  const std::string message = failure(std::forward<F>(f));
  ::unsetenv(kVariable);
  return message;
}

}  // namespace

TEST_CASE("misbehaves: rules and claims, which have no code to give, throw Failures, too") {
  const std::string path = attn::loader::test::fixture("computing/misbehaves");
  load_plugin(path);
  const auto check_says = [&](const std::string& place, const std::string& function, auto&& f) {
    CHECK_THAT(failure_in(place, f),
               Catch::Contains("no luck in " + place) && Catch::Contains(function) &&
                   Catch::Contains("type 'fixture.misbehaves', plugin " + path));
  };
  const auto layer = create_attention_layer("fixture.misbehaves");
  const std::vector<ClaimInfo> claims = claims_of(layer->type());
  const ClaimCall call(*layer, {});

  const std::string rule = "check() of the rule 'size is a number'";
  check_says("rule", rule, [] { validate_attention_config("fixture.misbehaves", Json::object()); });
  check_says("rule", rule, [] { (void)create_attention_layer("fixture.misbehaves"); });
  check_says("rule", rule, [&] { ClaimCall(*layer, {}); });

  const std::string holds = "holds() of the claim 'batch_independent'";
  const std::vector<std::string> required{"batch_independent"};
  check_says("holds", holds, [&] { (void)call.holds(claims.at(0)); });
  check_says("holds", holds, [&] { require_claims(*layer, required); });
  // Asked before a large call is cut into slices.
  const Array large = input(1 << 13);
  Context ctx;
  check_says("holds", holds, [&] { layer->forward(ctx, {{Input(large)}}); });
  check_says("allows", "allows() of the claim 'invariant'",
             [&] { (void)call.allows(claims.at(1), 0, 1); });

  CHECK(call.holds(claims.at(0)));
  CHECK_FALSE(call.allows(claims.at(1), 0, 1));
  CHECK_NOTHROW(layer->forward(ctx, {{Input(large)}}));
  CHECK_NOTHROW(use(*layer));
  // The cost of an operator is a fact beside the call: one that throws tells none.
  Context profiled;
  profiled.keep_profile(true);
  ::setenv(kVariable, "cost:exception", 1);
  CHECK_NOTHROW(layer->forward(profiled, {{Input(large)}}));
  ::unsetenv(kVariable);
  CHECK(profiled.profile().at(0).flops == 0);
}

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
