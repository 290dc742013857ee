// SPDX-License-Identifier: Apache-2.0
//
// Several ranks - threads of one process, or processes - that share one sequence: each has some of its tokens and
// makes the same calls of the same layer, and together they compute what one would.
//
//   auto ranks = attn::make_thread_communicators(4);       // one for each thread; or attn::MpiCommunicator (mpi.hpp)
//   const attn::TokenRange own = attn::sequence_part(seq, ranks[r]->rank(), ranks[r]->size());
//   // in thread r, x = tokens [own.begin, own.end) of the sequence, (batch, own tokens, dim):
//   attn::Array y = layer->forward(x, {.communicator = ranks[r].get()});   // the output of the same tokens
//
// Contract  Every rank makes the same calls on its communicator, directly or through calls of layers, in the same
//           order. Layers have the same type, config and weights everywhere.
// Tokens    Any share will do, in the order of the ranks: sequence_part() gives the usual one. A rank may have
//           none, then its tensors have an extent of 0. All other extents agree.
// Errors    What a rank finds wrong with a call before it runs reaches all: all throw an InvalidArgument that
//           names the rank and the reason, and the communicators stay usable. A rank that fails later, calls
//           fail() or is destroyed makes the others' waits throw Failure; then the communicators are used up.
//           No rank keeps waiting for one that failed. A rank that never calls is waited for.
// Threads   A communicator belongs to one thread at a time, the one that makes the call.
// Messages  Bytes as they lie in memory: ranks have the same byte order and dtypes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace attn {

// What a program may use of it between calls, and what a channel of another kind has to implement.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  [[nodiscard]] int rank() const noexcept { return rank_; }  // 0..size-1
  [[nodiscard]] int size() const noexcept { return size_; }

  // ---- collective: all ranks, in the same order ---------------------------------------------
  // Begins to send to rank `to` and to receive from rank `from`; the sizes are known on both sides. The memory
  // belongs to the transfer until wait(), and nothing else may begin before that.
  void start_sendrecv(int to, std::span<const std::byte> send, int from,
                      std::span<std::byte> receive);
  // Begins to copy `data` of rank `root` to all others.
  void start_broadcast(int root, std::span<std::byte> data);
  void wait();

  void broadcast(int root, std::span<std::byte> data);
  // all = what ranks 0, 1, ... gave, one behind the other; sizes: bytes of each rank's.
  void all_gather(std::span<const std::byte> own, std::span<std::byte> all,
                  std::span<const uint64_t> sizes);
  // Sums over the ranks, in their order and in double: the same bits for all.
  void all_reduce(std::span<float> values);
  void all_reduce(std::span<double> values);

  // ---- this rank alone ----------------------------------------------------------------------
  // Ends the work of all: their waits throw Failure with this reason. For a rank that cannot go on.
  void fail(const std::string& reason) noexcept;

 protected:
  Communicator(int rank, int size);

  // Messages between two ranks arrive in the order of their tags; a tag is used once in kTags transfers, so that
  // a message that is late is not taken for another. Sizes are never 0, and `peer` is another rank.
  static constexpr int kTags = 32000;
  virtual void start_send(int peer, int tag, std::span<const std::byte> data) = 0;
  virtual void start_receive(int peer, int tag, std::span<std::byte> data) = 0;
  // Until all that was started is done. Throws Failure when a rank has failed or a message has another size;
  // the memory is free then, too.
  virtual void wait_all() = 0;
  // As fail(). Drops what was started; its memory is free when this returns.
  virtual void abort(const std::string& reason) noexcept = 0;

 private:
  [[nodiscard]] int next_tag();
  template <class T>
  void reduce(std::span<T> values);

  int rank_, size_;
  uint64_t transfers_ = 0;
};

// Communicators of `size` ranks that are threads of this process, [r] for rank r. They may outlive one another.
// Waiting takes no processor time. Throws InvalidArgument unless size is at least 1.
[[nodiscard]] std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int size);

struct TokenRange {
  int64_t begin = 0, end = 0;
  [[nodiscard]] int64_t size() const { return end - begin; }
};
// The tokens of rank `rank` when `seq` tokens are shared out as evenly as possible, in whole multiples of
// `multiple` but for the last. Throws InvalidArgument for arguments out of range.
[[nodiscard]] TokenRange sequence_part(int64_t seq, int rank, int size, int64_t multiple = 1);

}  // namespace attn
