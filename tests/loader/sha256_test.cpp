// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "host/library/loader/sha256.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn::loader;

TEST_CASE("sha256: the examples of FIPS 180") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("sha256: lengths around the block") {
  // Of so many letters a, by coreutils' sha256sum.
  const std::pair<std::size_t, const char*> cases[] = {
      {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
      {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
      {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
      {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
      {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
      {119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb"},
      {120, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c"},
      {1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  const test::TempDir dir;
  for (const auto& [length, sum] : cases) {
    INFO(length);
    CHECK(sha256(std::string(length, 'a')) == sum);
    test::write_file(dir / "file", std::string(length, 'a'));
    CHECK(sha256_of_file(dir / "file") == sum);
  }
  CHECK_FALSE(sha256_of_file(dir / "absent"));
  CHECK_FALSE(sha256_of_file(dir.path()));
}
