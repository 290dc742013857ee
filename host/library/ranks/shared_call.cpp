// SPDX-License-Identifier: Apache-2.0
#include "host/library/ranks/shared_call.hpp"

#include <attn/sdk/error.hpp>

#include <cstring>
#include <new>

namespace attn::host {

namespace {

std::span<const std::byte> bytes(const void* data, uint64_t n) {
  return {static_cast<const std::byte*>(data), n};
}
std::span<std::byte> bytes(void* data, uint64_t n) { return {static_cast<std::byte*>(data), n}; }

Communicator& ranks(const attn_communicator* c) { return *static_cast<Communicator*>(c->host); }

// ---- the table for operators: no exception crosses ------------------------------------------------

int32_t start_sendrecv(const attn_communicator* c, int32_t to, const void* send,
                       uint64_t send_bytes, int32_t from, void* receive, uint64_t receive_bytes,
                       attn_error* e) {
  return sdk::detail::guard(e, [&] {
    ranks(c).start_sendrecv(to, bytes(send, send_bytes), from, bytes(receive, receive_bytes));
  });
}
int32_t start_broadcast(const attn_communicator* c, int32_t root, void* data, uint64_t n,
                        attn_error* e) {
  return sdk::detail::guard(e, [&] { ranks(c).start_broadcast(root, bytes(data, n)); });
}
int32_t wait(const attn_communicator* c, attn_error* e) {
  return sdk::detail::guard(e, [&] { ranks(c).wait(); });
}
int32_t all_gather(const attn_communicator* c, const void* own, void* all, const uint64_t* sizes,
                   attn_error* e) {
  return sdk::detail::guard(e, [&] {
    Communicator& m = ranks(c);
    uint64_t total = 0;
    for (int i = 0; i < m.size(); ++i) total += sizes[i];
    m.all_gather(bytes(own, sizes[m.rank()]), bytes(all, total),
                 {sizes, static_cast<size_t>(m.size())});
  });
}

std::string rank_text(int rank, size_t size) {
  return "rank " + std::to_string(rank) + " of " + std::to_string(size);
}

// What rank `other` and rank 0 say differently; "" when they agree.
std::string difference(const Handshake& first, const Handshake& other) {
  if (first.layer != other.layer)
    return "another type, config or dtype than rank 0; expected the same layer";
  if (first.flags != other.flags)
    return "other options (training, record, deterministic, penalties, cotangents) than rank 0";
  if (first.arguments != other.arguments) return "other arguments than rank 0";
  if (first.observed != other.observed)
    return "other observables (names, top, part of the map) than rank 0; expected the same "
           "Context::observe() on every rank";
  for (uint32_t i = 0; i < engine::kMaxPorts; ++i) {
    if (first.ranks[i] == other.ranks[i]) continue;
    const auto shown = [](int32_t rank) {
      return rank < 0 ? std::string("absent") : "of rank " + std::to_string(rank);
    };
    return "input " + std::to_string(i) + " " + shown(other.ranks[i]) + ", for rank 0 it is " +
           shown(first.ranks[i]);
  }
  if (first.batch != other.batch)
    return "batch " + std::to_string(other.batch) + ", rank 0 " + std::to_string(first.batch);
  if (first.has_seed != other.has_seed || (first.has_seed != 0 && first.seed != other.seed))
    return "another seed than rank 0; expected one seed, or none for all";
  return "";
}

}  // namespace

void abort(Communicator& ranks, const char* reason) noexcept {
  std::string text;
  try {
    text = reason;
  } catch (const std::bad_alloc&) {
    // The empty reason needs no memory.
  }
  ranks.fail(text);
}

void Handshake::refuse(int32_t why, const char* text) {
  code = why;
  std::strncpy(message, text, sizeof message - 1);
}

SharedCall::SharedCall() {
  table_.struct_size = sizeof table_;
  table_.start_sendrecv = host::start_sendrecv;
  table_.start_broadcast = host::start_broadcast;
  table_.wait = host::wait;
  table_.all_gather = host::all_gather;
  part_.struct_size = sizeof part_;
}

std::vector<Handshake> SharedCall::gather(const Handshake& own, const std::string& who) {
  const auto size = static_cast<size_t>(communicator_->size());
  std::vector<Handshake> all(size);
  const std::vector<uint64_t> sizes(size, sizeof(Handshake));
  communicator_->all_gather(bytes(&own, sizeof own), bytes(all.data(), size * sizeof(Handshake)),
                            sizes);
  for (size_t i = 0; i < size; ++i) {
    if (all[i].code == ATTN_OK) continue;
    all[i].message[sizeof all[i].message - 1] = '\0';
    const std::string text =
        size == 1 ? std::string(all[i].message)
                  : who + ": " + rank_text(static_cast<int>(i), size) + ": " + all[i].message;
    if (all[i].code == ATTN_INVALID_ARGUMENT) throw ToldRefusal(text, {.where = who});
    throw ToldFailure(text, {.where = who});
  }
  for (size_t i = 1; i < size; ++i)
    if (const std::string text = difference(all[0], all[i]); !text.empty())
      throw ToldRefusal(who + ": " + rank_text(static_cast<int>(i), size) + " has " + text,
                        {.where = who});
  return all;
}

uint64_t SharedCall::begin(Communicator* communicator, bool ordered, const Handshake& own,
                           const std::string& who) {
  communicator_ = communicator ? communicator : &alone_;
  std::vector<Handshake> all;
  try {
    all = gather(own, who);
  } catch (...) {
    end();
    throw;
  }
  table_.rank = part_.rank = communicator_->rank();
  table_.size = part_.size = communicator_->size();
  table_.host = communicator_;
  bounds_.assign(1, 0);
  for (const Handshake& n : all) bounds_.push_back(bounds_.back() + n.tokens);
  part_.flags = ordered ? uint32_t{ATTN_SHARD_DETERMINISTIC} : 0u;
  part_.begin = bounds_[static_cast<size_t>(part_.rank)];
  part_.end = bounds_[static_cast<size_t>(part_.rank) + 1];
  part_.total = bounds_.back();
  part_.bounds = bounds_.data();
  if (part_.total == 0) {
    end();
    throw ToldRefusal(who + ": the sequence has no tokens on any rank", {.where = who});
  }
  return all[0].seed;
}

uint32_t SharedCall::agree(const Handshake& own, const std::string& who) {
  uint32_t signs = 0;
  for (const Handshake& n : gather(own, who)) signs |= n.mask_signs;
  return signs;
}

}  // namespace attn::host
