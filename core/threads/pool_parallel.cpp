// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>

#include "core/error/error.hpp"
#include "core/threads/pool.hpp"

namespace attn::threads {

PoolParallel::~PoolParallel() {
  for (const Block& b : blocks_) std::free(b.data);
}

int PoolParallel::concurrency() const noexcept {
  return pool_ != nullptr ? pool_->concurrency() : threads::concurrency();
}

void PoolParallel::run(int64_t n, int64_t grain, Body body, void* user) {
  if (pool_ != nullptr) {
    pool_->run(n, grain, body, user);
  } else {
    threads::run(n, grain, body, user);
  }
}

void* PoolParallel::scratch(size_t bytes) {
  const size_t need = std::max<size_t>((bytes + 63) / 64 * 64, 64);
  if (blocks_.empty() || blocks_.back().size - blocks_.back().used < need) {
    const size_t size = std::max<size_t>(need, size_t{1} << 20);
    void* data = std::aligned_alloc(64, size + 63 - (size + 63) % 64);
    if (data == nullptr)
      throw Failure("scratch: no memory for " + std::to_string(bytes) + " bytes");
    blocks_.push_back({static_cast<std::byte*>(data), size, 0});
  }
  Block& block = blocks_.back();
  void* p = block.data + block.used;
  block.used += need;
  return p;
}

void PoolParallel::release() {
  if (blocks_.size() > 1) {
    size_t total = 0;
    for (const Block& b : blocks_) {
      total += b.size;
      std::free(b.data);
    }
    blocks_.clear();
    (void)scratch(total);
  }
  for (Block& b : blocks_) b.used = 0;
}

}  // namespace attn::threads
