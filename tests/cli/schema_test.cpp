// SPDX-License-Identifier: Apache-2.0
//
// attn schema: what it writes, for all types and for one. tests/python/test_schema.py reads it as a JSON Schema.
#include "tests/cli/program.hpp"

namespace attn::test {

TEST_CASE("cli: schema") {
  const Finished all = attn_run({"schema"});
  check_done(all);
  CHECK(all.out == attn_run({"schema"}).out);
  const Json types = parsed(attn_run({"list", "--json"}).out);
  const Json schema = parsed(all.out);
  const Json& names = schema.at("$defs").at("layer").at("properties").at("type").at("enum");
  CHECK(names.size() == types.size());
  // Beside every name what it is, as editors show it.
  CHECK(schema.at("$defs").at("layer").at("properties").at("type").at("enumDescriptions").size() ==
        names.size());
  const Json one = parsed(attn_run({"schema", "fnet"}).out);
  CHECK(one.at("$defs").at("layer").at("properties").at("type").at("enum") ==
        Json(std::vector<std::string>{"fnet"}));
  CHECK(one.at("$defs").at("type-fnet") == schema.at("$defs").at("type-fnet"));
  check_refused(attn_run({"schema", "multi_hed"}), {"multi_hed", "did you mean 'multi_head'?"});

  // Where nothing is loaded, no type is right.
  const Folder empty;
  const Json none = parsed(attn_run({"schema", "--plugin-path", empty / ""}).out);
  CHECK(none.at("$defs").at("layer").at("properties").at("type").at("enum").empty());
}

}  // namespace attn::test
