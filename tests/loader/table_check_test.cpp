// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <deque>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "host/library/loader/schema_check.hpp"
#include "host/library/loader/table_check.hpp"

using namespace attn::loader;

namespace {

attn_value integer(int64_t i) { return {ATTN_VALUE_I64, 0, {i}}; }
attn_value real(double f) {
  attn_value v{ATTN_VALUE_F64, 0, {0}};
  v.u.f = f;
  return v;
}
attn_value text(const char* s) {
  attn_value v{ATTN_VALUE_STR, 0, {0}};
  v.u.s = s;
  return v;
}

// A correct plugin, each part of which a test may spoil.
struct Table {
  attn_param size{}, rate{}, mode{}, flag{};
  const attn_param* params[3] = {&size, &rate, &mode};
  const attn_param* args[1] = {&flag};
  const char* choices[2] = {"one", "two"};
  attn_rule rule{};
  const attn_rule* rules[1] = {&rule};
  attn_input input{}, mask{};
  const attn_input* inputs[2] = {&input, &mask};
  attn_output output{}, weights{};
  const attn_output* outputs[2] = {&output, &weights};
  attn_claim claim{};
  const attn_claim* claims[1] = {&claim};
  attn_type type{};
  const attn_type* types[1] = {&type};
  attn_op op{};
  attn_param attr{};
  const attn_param* attrs[1] = {&attr};
  const attn_op* ops[1] = {&op};
  const attn_op_ref* slot = nullptr;
  attn_op_use use{};
  const attn_op_use* uses[1] = {&use};
  attn_plugin plugin{};
  PluginNote note;

  Table() {
    size.struct_size = rate.struct_size = mode.struct_size = flag.struct_size = attr.struct_size =
        sizeof(attn_param);
    size.kind = ATTN_PARAM_INT;
    size.flags = ATTN_PARAM_REQUIRED | ATTN_PARAM_HAS_MIN | ATTN_PARAM_EXCLUSIVE_MIN;
    size.min = integer(0);
    size.name = "size";
    rate.kind = ATTN_PARAM_REAL;
    rate.flags = ATTN_PARAM_HAS_MIN | ATTN_PARAM_HAS_MAX;
    rate.min = real(0);
    rate.max = real(1);
    rate.def = real(0.5);
    rate.name = "rate";
    mode.kind = ATTN_PARAM_TEXT;
    mode.choices = choices;
    mode.n_choices = 2;
    mode.def = text("two");
    mode.name = "mode";
    flag.kind = ATTN_PARAM_BOOL;
    flag.def = {ATTN_VALUE_BOOL, 0, {0}};
    flag.name = "return_weights";
    attr.kind = ATTN_PARAM_INTS;
    attr.def = {ATTN_VALUE_I64S, 0, {0}};
    attr.name = "axes";
    for (attn_param* p : {&size, &rate, &mode, &flag, &attr}) p->doc = "";
    rule = {sizeof rule, 0, "size ({size}) must not be 7",
            [](const attn_value*, const void*) { return 1; }, nullptr};
    input.struct_size = mask.struct_size = sizeof(attn_input);
    input.name = "inputs";
    mask.name = "mask";
    mask.flags = ATTN_INPUT_OPTIONAL | ATTN_INPUT_MASK;
    input.doc = mask.doc = "";
    output = {sizeof output, 0, "output", "", "batch", nullptr};
    weights = {sizeof weights, ATTN_OUTPUT_OPTIONAL, "weights", "", "batch", "return_weights"};
    type.struct_size = sizeof type;
    type.id = "my.type";
    type.class_name = "MyType";
    type.description = type.use_case = type.input_shape = type.complexity = type.paper = "text";
    claim.struct_size = sizeof claim;
    claim.kind = ATTN_CLAIM_REACHES;
    claim.subject = "inputs";
    claim.condition = "size = 1";
    claim.holds = [](const attn_claim_call*, const void*) { return 1; };
    claim.relation = "the same position";
    claim.allows = [](const attn_claim_call*, int64_t p, int64_t q, const void*) {
      return p == q ? 1 : 0;
    };
    type.claims = claims;
    type.n_claims = 1;
    type.n_params = 3;
    type.n_rules = 1;
    type.n_inputs = 2;
    type.n_args = 1;
    type.n_outputs = 2;
    type.params = params;
    type.rules = rules;
    type.inputs = inputs;
    type.args = args;
    type.outputs = outputs;
    type.create = [](const attn_value*, attn_layer**, attn_error*) { return 0; };
    type.destroy = [](attn_layer*) {};
    type.build = [](attn_layer*, attn_builder*, attn_error*) { return 0; };
    type.forward = [](const attn_layer*, const attn_call*, attn_error*) { return 0; };
    op.struct_size = sizeof op;
    op.name = "my.op";
    op.doc = "";
    op.version = 1;
    op.n_in = 2;
    op.n_out = 1;
    op.n_attrs = 1;
    op.in_required = 3;
    op.map_output = -1;
    op.attrs = attrs;
    op.shape = op.forward = [](const attn_op_call*, attn_error*) { return 0; };
    use = {sizeof use, 1, 0, 0, "linear", &slot};
    plugin.struct_size = sizeof plugin;
    plugin.abi_major = ATTN_ABI_MAJOR;
    plugin.abi_minor_built = ATTN_ABI_MINOR;
    plugin.name = "my";
    plugin.version = "1.0.0";
    plugin.license = "Apache-2.0";
    plugin.n_types = plugin.n_ops = plugin.n_uses = 1;
    plugin.types = types;
    plugin.ops = ops;
    plugin.uses = uses;
    note.abi_major = ATTN_ABI_MAJOR;
    note.abi_minor_built = ATTN_ABI_MINOR;
    note.name = "my";
    note.version = "1.0.0";
    note.types = {"my.type"};
  }

  [[nodiscard]] std::string verdict() const {
    const auto refusal = check_table(&plugin, note);
    if (!refusal) return "good";
    std::string text = name(refusal->kind);
    text += ": ";
    text += refusal->problem;
    return text;
  }
};

// What is said about a table in which one thing was spoilt.
std::string spoilt(const std::function<void(Table&)>& spoil) {
  Table table;
  spoil(table);
  return table.verdict();
}

}  // namespace

TEST_CASE("table_check: a correct table passes") {
  CHECK(Table().verdict() == "good");
  CHECK(check_table(nullptr, {})->kind == RefusalKind::bad_table);
}

TEST_CASE("table_check: larger structs of a newer SDK pass") {
  CHECK(spoilt([](Table& t) {
          t.type.struct_size += 64;
          t.plugin.struct_size += 8;
          t.size.struct_size += 16;
          t.claim.struct_size += 8;
          t.claim.kind = 99;
          t.claim.subject = "of a kind that is not known";
          t.plugin.abi_minor_built = t.note.abi_minor_built = 9;
        }) == "good");
}

TEST_CASE("table_check: claims are no part of ABI 1.0") {
  CHECK(spoilt([](Table& t) {
          t.type.struct_size = offsetof(attn_type, n_claims);
          t.type.claims = nullptr;
          t.type.n_claims = 1u << 30;
        }) == "good");
  CHECK(spoilt([](Table& t) {
          t.type.claims = nullptr;
          t.type.n_claims = 0;
        }) == "good");
}

TEST_CASE("table_check: one thing wrong, one sentence about it") {
  using T = Table&;
  const std::pair<std::function<void(T)>, const char*> cases[] = {
      {[](T t) { t.plugin.struct_size = 4; }, "the plugin's struct_size is 4"},
      {[](T t) { t.plugin.struct_size = 40; }, "the plugin's struct_size is 40"},
      {[](T t) { t.plugin.abi_major = 3; }, "abi_major: built for ABI 3"},
      {[](T t) { t.plugin.abi_minor_needed = 5; }, "abi_minor: needs a host with ABI 1.5"},
      {[](T t) { t.plugin.name = nullptr; }, "the plugin has no name"},
      {[](T t) { t.plugin.version = ""; }, "the plugin has no version"},
      {[](T t) { t.plugin.license = "\xff"; }, "the plugin has no license"},
      {[](T t) { t.plugin.n_types = t.plugin.n_ops = 0; }, "neither a type nor an operator"},
      {[](T t) { t.plugin.n_types = 1u << 30; }, "types: 1073741824 elements are absurd"},
      {[](T t) { t.plugin.types = nullptr; }, "types: the array is NULL"},
      {[](T t) { t.types[0] = nullptr; }, "types[0] is NULL"},
      {[](T t) { t.type.struct_size = 100; }, "types[0] has struct_size 100, less than 160"},
      {[](T t) { t.type.id = "My.type"; }, "the id is not made of"},
      {[](T t) { t.type.id = "a..b"; }, "the id is not made of"},
      {[](T t) { t.type.id = "a."; }, "the id is not made of"},
      {[](T t) { t.type.id = nullptr; }, "type NULL: the id is not made of"},
      {[](T t) { t.type.class_name = "My-Type"; }, "class name 'My-Type' is not an identifier"},
      {[](T t) { t.type.paper = nullptr; }, "its paper is not a text"},
      {[](T t) { t.type.description = "\xc3("; }, "its description is not a text"},
      {[](T t) { t.type.forward = nullptr; }, "create, destroy, build or forward is NULL"},
      {[](T t) { t.type.n_inputs = 0; }, "0 inputs, 1 to 16 are possible"},
      {[](T t) { t.input.flags = ATTN_INPUT_OPTIONAL; }, "its first input is optional"},
      {[](T t) { t.mask.name = "inputs"; }, "input 'inputs': the name is used twice"},
      {[](T t) {
         static const char* const names[] = {"attention_mask", "a b"};
         t.input.aliases = names;
         t.input.n_aliases = 2;
       },
       "an alias is not an identifier"},
      {[](T t) {
         static const char* const names[] = {"x", "x"};
         t.input.aliases = names;
         t.input.n_aliases = 2;
       },
       "the alias 'x' is used twice"},
      {[](T t) { t.input.n_aliases = 1; }, "aliases are missing"},
      {[](T t) { t.input.n_shapes = 2; }, "input 'inputs': shapes are missing"},
      {[](T t) { t.input.dtypes = 1u << 20; }, "unknown kinds of elements"},
      {[](T t) { t.type.n_outputs = 0; }, "0 outputs, 1 to 16 are possible"},
      {[](T t) { t.weights.argument = "nothing"; }, "no bool argument 'nothing' asks for it"},
      {[](T t) {
         t.flag.kind = ATTN_PARAM_INT;
         t.flag.def = integer(0);
       },
       "no bool argument 'return_weights' asks for it"},
      {[](T t) { t.claims[0] = nullptr; }, "claims[0] is NULL"},
      {[](T t) { t.type.claims = nullptr; }, "claims: the array is NULL"},
      {[](T t) { t.claim.struct_size = 56; }, "claims[0] has struct_size 56, less than 64"},
      {[](T t) { t.claim.kind = 0; }, "claim 0: its kind is 0"},
      {[](T t) { t.claim.condition = "\xff"; }, "condition or relation is not a text"},
      {[](T t) { t.claim.subject = "\x01"; }, "subject, condition or relation is not a text"},
      {[](T t) { t.claim.holds = nullptr; }, "or words without a function"},
      {[](T t) { t.claim.relation = nullptr; }, "a function without words"},
      {[](T t) { t.claim.subject = "outputs"; }, "claim 0: there is no input 'outputs'"},
      {[](T t) {
         t.claim.relation = nullptr;
         t.claim.allows = nullptr;
       },
       "claim 0: reaches nothing, allows() is NULL"},
      {[](T t) {
         t.claim.kind = ATTN_CLAIM_INERT;
         t.claim.subject = nullptr;
       },
       "claim 0: inert names no weight"},
      {[](T t) {
         t.claim.kind = ATTN_CLAIM_HOMOGENEOUS;
         t.claim.degree = std::numeric_limits<double>::infinity();
       },
       "claim 0: its degree is not finite"},
      {[](T t) { t.rule.text = ""; }, "it has no text"},
      {[](T t) { t.rule.check = nullptr; }, "it has no check function"},
      {[](T t) { t.rule.text = "{depth} is wrong"; }, "there is no parameter 'depth'"},
      {[](T t) { t.size.name = "type"; }, "'type' belongs to the configuration itself"},
      {[](T t) { t.size.name = "2d"; }, "the name '2d' is not an identifier"},
      {[](T t) { t.rate.name = "size"; }, "the name 'size' is used twice"},
      {[](T t) {
         t.size.flags &= ~uint32_t{ATTN_PARAM_REQUIRED};
         t.size.def = integer(1);
         t.mode.flags = ATTN_PARAM_REQUIRED;
         t.mode.def = {};
       },
       "parameter 'mode': is required and stands behind an optional one"},
      {[](T t) { t.size.def = integer(3); }, "is required and has a default"},
      {[](T t) { t.size.kind = 99; }, "kind 99 is unknown"},
      {[](T t) { t.rate.def = integer(0); }, "default is of another kind than the parameter"},
      {[](T t) { t.rate.def = {}; }, "default null, but it is not nullable"},
      {[](T t) { t.size.flags |= ATTN_PARAM_EXTENSION; }, "is required and an extension"},
      {[](T t) { t.rate.def = real(1.5); }, "default is outside its range"},
      {[](T t) { t.rate.def = real(std::numeric_limits<double>::quiet_NaN()); },
       "default is not finite"},
      {[](T t) { t.rate.max = real(-1); }, "its range is empty"},
      {[](T t) { t.rate.max = text("x"); }, "max is not a number of the parameter's kind"},
      {[](T t) { t.rate.flags |= ATTN_PARAM_ODD; }, "only integers can be odd"},
      {[](T t) { t.mode.flags = ATTN_PARAM_HAS_MIN; }, "this kind has no range"},
      {[](T t) { t.mode.flags = ATTN_PARAM_EXCLUSIVE_MAX; }, "EXCLUSIVE_MAX without a max"},
      {[](T t) { t.mode.def = text("three"); }, "default 'three' is not among its choices"},
      {[](T t) { t.choices[1] = "one"; }, "choice 'one' twice"},
      {[](T t) { t.mode.choices = nullptr; }, "choices are missing"},
      {[](T t) { t.mode.n_aliases = 1; }, "aliases are missing"},
      {[](T t) { t.mode.of = "later"; }, "no parameter 'later' stands before it"},
      {[](T t) { t.mode.doc = nullptr; }, "doc is not a text"},
      {[](T t) { t.op.name = "My"; }, "operator 'My': the name is not made of"},
      {[](T t) { t.op.version = 0; }, "its version is 0"},
      {[](T t) { t.op.n_in = 25; }, "25 inputs, 0 to 24"},
      {[](T t) { t.op.in_const = 4; }, "names an input that does not exist"},
      {[](T t) { t.op.map_output = 1; }, "map_output names an output that does not exist"},
      {[](T t) { t.op.shape = nullptr; }, "shape or forward is NULL"},
      {[](T t) { t.attr.kind = ATTN_PARAM_NORM; },
       "an attribute of an operator cannot be of this kind"},
      {[](T t) {
         static const char* const nine[] = {"batch, seq", "a, b, c, d, e, f, g, h, i"};
         t.mask.n_shapes = 2, t.mask.shapes = nine;
       },
       "input 'mask': 9 extents, 0 to 8 are possible"},
      {[](T t) { t.output.shape = "a,b,c,d,e,f,g,h,i,j"; },
       "output 'output': 10 extents, 0 to 8 are possible"},
      {[](T t) { t.use.slot = nullptr; },
       "use of operator 'linear': name, version or slot is missing"},
      {[](T t) { t.use.struct_size = 8; }, "uses[0] has struct_size 8"},
      {[](T t) { t.note.name = std::string("other"); }, "metadata_mismatch: name is 'other'"},
      {[](T t) { t.note.version = std::string("2"); }, "metadata_mismatch: version is '2'"},
      {[](T t) { t.note.abi_minor_built = 4; }, "metadata_mismatch: ABI minor built is '4'"},
      {[](T t) { t.note.types.clear(); },
       "type 'my.type' is in its table and not in the file's metadata"},
      {[](T t) { t.note.types.push_back("x.y"); },
       "type 'x.y' is in the file's metadata and not in its table"}};
  for (const auto& [spoil, expected] : cases) {
    const std::string verdict = spoilt(spoil);
    INFO(verdict);
    INFO("expected: " << expected);
    CHECK(verdict.find(expected) != std::string::npos);
    CHECK(verdict.find("; and ") == std::string::npos);  // not a dozen problems for one fault
  }
}

TEST_CASE("table_check: what the engine has room for, and one more") {
  // Each array of the table once, filled with elements of different names.
  struct Limit {
    const char* what;
    uint32_t most;
    std::function<void(Table&, uint32_t)> set;
  };
  std::deque<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back("n" + std::to_string(i));
  std::vector<attn_input> in(100);
  std::vector<attn_output> out(100);
  std::vector<attn_param> params(100);
  std::vector<const attn_input*> ins;
  std::vector<const attn_output*> outs;
  std::vector<const attn_param*> ints;
  const Table sample;
  for (size_t i = 0; i < 100; ++i) {
    in[i] = sample.mask, out[i] = sample.output, params[i] = sample.flag;
    in[i].name = out[i].name = params[i].name = names[i].c_str();
    ins.push_back(&in[i]), outs.push_back(&out[i]), ints.push_back(&params[i]);
  }
  in[0].flags = 0;
  const Limit limits[] = {
      {"input", 16,
       [&](Table& t, uint32_t n) {
         t.type.inputs = ins.data(), t.type.n_inputs = n;
         t.claim.subject = nullptr;
       }},
      {"output", 16,
       [&](Table& t, uint32_t n) { t.type.outputs = outs.data(), t.type.n_outputs = n; }},
      {"argument", 32,
       [&](Table& t, uint32_t n) {
         t.type.args = ints.data(), t.type.n_args = n;
         t.type.n_outputs = 1;
       }},
      {"attribute", 32, [&](Table& t, uint32_t n) { t.op.attrs = ints.data(), t.op.n_attrs = n; }},
      {"input", 24, [](Table& t, uint32_t n) { t.op.n_in = n; }},
      {"output", 16, [](Table& t, uint32_t n) { t.op.n_out = n; }},
      {"saved", 16, [](Table& t, uint32_t n) { t.op.n_saved = n; }}};
  for (const Limit& limit : limits) {
    INFO(limit.what);
    CHECK(spoilt([&](Table& t) { limit.set(t, limit.most); }) == "good");
    for (const uint32_t n : {limit.most + 1, limit.most + 2, 64u, 65u, 1u << 31}) {
      const std::string verdict = spoilt([&](Table& t) { limit.set(t, n); });
      INFO(n << ": " << verdict);
      CHECK(verdict.find("bad_table") == 0);
      CHECK(verdict.find(limit.what) != std::string::npos);
    }
  }
}

TEST_CASE("table_check: only the first three problems are shown") {
  const std::string verdict = spoilt([](Table& t) {
    t.type.paper = t.type.complexity = t.type.use_case = t.type.description = nullptr;
    t.op.version = 0;
  });
  CHECK(verdict.find("; and 2 more") != std::string::npos);
}

TEST_CASE("table_check: names and texts") {
  CHECK(is_dotted_name("a"));
  CHECK(is_dotted_name("org.acme.my_type2"));
  CHECK(is_dotted_name(std::string(64, 'a').c_str()));
  for (const char* bad :
       {"", ".", ".a", "a.", "a..b", "A", "a-b", "2a", "a.2", "a b", "\xc3\xa4"}) {
    CHECK_FALSE(is_dotted_name(bad));
  }
  CHECK_FALSE(is_dotted_name(std::string(65, 'a').c_str()));
  CHECK_FALSE(is_dotted_name(nullptr));
  CHECK(is_identifier("_Ab9"));
  for (const char* bad : {"", "9a", "a.b", "a b"}) CHECK_FALSE(is_identifier(bad));
  CHECK(is_text(""));
  CHECK(is_text("a\nb\t\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"));
  // Overlong, surrogate, beyond U+10FFFF, cut off, control character.
  for (const char* bad :
       {"\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x01"}) {
    CHECK_FALSE(is_text(bad));
  }
  CHECK_FALSE(is_text(std::string(20000, 'a').c_str()));
}
