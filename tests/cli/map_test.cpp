// SPDX-License-Identifier: Apache-2.0
//
// attn map: pictures of calls in three formats, parts, comparisons, refusals.
#include "tests/cli/program.hpp"

namespace attn::test {

TEST_CASE("cli: map draws a call") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {1, 5, 8});
  const std::string labels = folder.write("tokens.txt", "the\ncat\nsat\r\non\nit\n");
  for (const char* name : {"map.png", "map.svg", "map.html"}) {
    const Finished f =
        attn_run({"map", layer, "--input", x, "--labels", labels, "--out", folder / name, "-q"});
    check_done(f);
    CHECK_THAT(f.out, Catch::Matchers::StartsWith(folder / name + ": "));
  }
  CHECK(read_file(folder / "map.png").rfind("\x89PNG", 0) == 0);
  for (const char* name : {"map.svg", "map.html"})
    for (const char* part :
         {"multi_head", "layer.json", "head 1", ">cat<", ">sat<", "weight</text>"})
      CHECK_THAT(read_file(folder / name), Catch::Matchers::Contains(part));
  CHECK_THAT(read_file(folder / "map.html"), Catch::Matchers::Contains("const fields"));
}

TEST_CASE("cli: map draws parts, other observables, and two layers") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {2, 6, 8});
  const std::string other = folder.write("other.json", R"({"type": "fnet"})");
  const std::string out = folder / "map.svg";
  check_done(attn_run({"map", layer, "--input", "inputs=" + x, "--heads", "1", "--queries", "2:4",
                       "--keys", ":3", "--row", "1", "--out", out, "-q"}));
  std::string picture = read_file(out);
  CHECK_THAT(picture, Catch::Matchers::Contains("head 1"));
  CHECK_THAT(picture, !Catch::Matchers::Contains("head 0"));
  CHECK_THAT(picture, Catch::Matchers::Contains("row 1 of 2"));

  check_refused(attn_run({"map", layer, "--input", x, "--show", "entropy", "--grid", "2,3", "--out",
                          out, "-q"}),
                {"--grid"});  // nothing that is shown has one
  check_done(
      attn_run({"map", layer, "--input", x, "--show", "entropy,column_mass", "--out", out, "-q"}));
  picture = read_file(out);
  CHECK_THAT(picture, Catch::Matchers::Contains("nats"));
  CHECK_THAT(picture, !Catch::Matchers::Contains("head 0"));

  check_done(attn_run({"map", layer, "--input", x, "--grid", "2,3", "--query", "4", "--compare",
                       other, "--out", out, "-q"}));
  picture = read_file(out);
  for (const char* part : {"multi_head", "fnet", "spectrum", "query 4 (y 1, x 1) over the grid"})
    CHECK_THAT(picture, Catch::Matchers::Contains(part));

  const Finished told = attn_run({"map", layer, "--input", x, "--out", out, "--json", "-q"});
  check_done(told);
  CHECK(parsed(told.out).at("file") == Json(out));
  CHECK(parsed(told.out).at("width").to_double() > 200);
}

TEST_CASE("cli: map refuses what it cannot draw") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {1, 5, 8});
  const std::string out = folder / "map.png";
  const auto map = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"map", layer, "--input", x, "-q"});
    if (std::find(more.begin(), more.end(), "--out") == more.end())
      more.insert(more.end(), {"--out", out});
    return attn_run(more);
  };
  check_refused(map({"--out", folder / "map.jpg"}), {"--out", ".png, .svg or .html"});
  check_refused(map({"--out", folder / "no/map.png"}), {"no/map.png"});
  check_refused(map({"--heads", "x"}), {"--heads: 'x' is no range of heads"});
  check_refused(map({"--grid", "3"}), {"--grid", "ROWS,COLUMNS"});
  check_refused(map({"--labels", folder.write("few.txt", "a\nb\n")}),
                {"--labels", "2 labels for 5 positions", "expected 5"});
  check_refused(map({"--labels", folder.write("none.txt", "")}), {"--labels", "has no labels"});
  check_refused(map({"--show", "entropi"}), {"has no 'entropi' to observe", "entropy"});
  check_refused(map({"--row", "1"}), {"--row: there is no row 1"});
  check_refused(map({"--input", x, "--input", x, "--input", x}), {"--input", "one too many"});
  check_refused(map({"--query", "1"}), {"--query", "grid"});
  check_refused(map({"--compare-weights", x}), {"--compare"});
  CHECK(read_file(out).empty());  // of no refused call
}

}  // namespace attn::test
