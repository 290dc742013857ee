// SPDX-License-Identifier: Apache-2.0
//
// Collective operations out of messages between two ranks, so that every kind of channel gives the same bits.
#include <attn/communicator.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <cstring>

#include "host/library/ranks/shared_call.hpp"

namespace attn {

namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw InvalidArgument("communicator: " + text);
}

void check_member(int rank, int size) {
  if (rank < 0 || rank >= size)
    refuse("no rank " + std::to_string(rank) + " among " + std::to_string(size));
}

template <class T>
std::span<std::byte> bytes_of(T* data, int64_t n) {
  return {reinterpret_cast<std::byte*>(data), static_cast<size_t>(n) * sizeof(T)};
}

// Begins transfers. When one of them cannot begin, the work of all ends here, before the memory of those that have begun
// goes away with the exception.
template <class Start>
void begin(Communicator& ranks, Start&& start) {
  try {
    start();
  } catch (const std::exception& e) {
    host::abort(ranks, e.what());
    throw;
  }
}

}  // namespace

Communicator::Communicator(int rank, int size) : rank_(rank), size_(size) {
  if (size < 1) refuse("at least one rank is needed, got " + std::to_string(size));
  check_member(rank, size);
}

int Communicator::next_tag() { return static_cast<int>(transfers_++ % kTags); }

void Communicator::start_sendrecv(int to, std::span<const std::byte> send, int from,
                                  std::span<std::byte> receive) {
  check_member(to, size_);
  check_member(from, size_);
  const int tag = next_tag();
  if ((to == rank_) != (from == rank_)) refuse("a rank exchanges with itself or with others");
  if (to == rank_) {
    if (send.size() != receive.size()) refuse("a message to oneself has two sizes");
    if (!send.empty()) std::memmove(receive.data(), send.data(), send.size());
    return;
  }
  begin(*this, [&] {
    if (!receive.empty()) start_receive(from, tag, receive);
    if (!send.empty()) start_send(to, tag, send);
  });
}

void Communicator::start_broadcast(int root, std::span<std::byte> data) {
  check_member(root, size_);
  const int tag = next_tag();
  if (data.empty()) return;
  begin(*this, [&] {
    if (root != rank_) return start_receive(root, tag, data);
    // The nearest first: each has the next part to give away soon.
    for (int step = 1; step < size_; ++step) start_send((root + step) % size_, tag, data);
  });
}

void Communicator::wait() { wait_all(); }

void Communicator::broadcast(int root, std::span<std::byte> data) {
  start_broadcast(root, data);
  wait();
}

void Communicator::all_gather(std::span<const std::byte> own, std::span<std::byte> all,
                              std::span<const uint64_t> sizes) {
  uint64_t total = 0;
  for (const uint64_t n : sizes) total += n;
  if (sizes.size() != static_cast<size_t>(size_) ||
      own.size() != sizes[static_cast<size_t>(rank_)] || all.size() != total)
    refuse("the sizes of a gathering do not belong together");
  const int tag = next_tag();
  begin(*this, [&] {
    uint64_t at = 0;
    for (int rank = 0; rank < size_; ++rank) {
      const auto to = all.subspan(at, sizes[static_cast<size_t>(rank)]);
      at += to.size();
      if (rank == rank_) {
        // What lies in its place already may be on its way to others.
        if (!own.empty() && to.data() != own.data())
          std::memmove(to.data(), own.data(), own.size());
      } else {
        if (!to.empty()) start_receive(rank, tag, to);
        if (!own.empty()) start_send(rank, tag, own);
      }
    }
  });
  wait();
}

// Each rank adds up one range of the values from all, and gives it to all.
template <class T>
void Communicator::reduce(std::span<T> values) {
  if (size_ == 1) return;
  const auto n = static_cast<int64_t>(values.size());
  const auto bound = [&](int rank) { return sequence_part(n, rank, size_).begin; };
  const auto range = [&](T* data, int rank) {
    const TokenRange r = sequence_part(n, rank, size_);
    return bytes_of(data + r.begin, r.size());
  };
  const TokenRange own = sequence_part(n, rank_, size_);
  std::vector<T> parts(static_cast<size_t>(own.size() * size_));
  const int tag = next_tag();
  begin(*this, [&] {
    for (int rank = 0; rank < size_; ++rank) {
      T* part = parts.data() + own.size() * rank;
      if (rank == rank_) {
        std::copy_n(values.data() + own.begin, own.size(), part);
        continue;
      }
      if (own.size() > 0) start_receive(rank, tag, bytes_of(part, own.size()));
      if (const auto data = range(values.data(), rank); !data.empty()) start_send(rank, tag, data);
    }
  });
  wait();
  for (int64_t i = 0; i < own.size(); ++i) {
    double sum = 0;
    for (int rank = 0; rank < size_; ++rank)
      sum += static_cast<double>(parts[static_cast<size_t>(own.size() * rank + i)]);
    values[static_cast<size_t>(bound(rank_) + i)] = static_cast<T>(sum);
  }
  std::vector<uint64_t> sizes;
  for (int rank = 0; rank < size_; ++rank) sizes.push_back(range(values.data(), rank).size());
  all_gather(range(values.data(), rank_), bytes_of(values.data(), n), sizes);
}

void Communicator::all_reduce(std::span<float> values) { reduce(values); }
void Communicator::all_reduce(std::span<double> values) { reduce(values); }

void Communicator::fail(const std::string& reason) noexcept { abort(reason); }

TokenRange sequence_part(int64_t seq, int rank, int size, int64_t multiple) {
  if (seq < 0 || size < 1 || rank < 0 || rank >= size || multiple < 1)
    throw InvalidArgument("sequence_part: " + std::to_string(seq) + " tokens, rank " +
                          std::to_string(rank) + " of " + std::to_string(size) + ", multiples of " +
                          std::to_string(multiple) +
                          "; expected seq >= 0, 0 <= rank < size and multiple >= 1");
  const int64_t units = seq / multiple + (seq % multiple != 0 ? 1 : 0);
  // floor(r units / size) without the product.
  const auto bound = [&](int64_t r) {
    const int64_t whole = r * (units / size) + r * (units % size) / size;
    return whole >= units ? seq : std::min(seq, whole * multiple);
  };
  return {bound(rank), bound(rank + 1)};
}

}  // namespace attn
