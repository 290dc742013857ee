// SPDX-License-Identifier: Apache-2.0
#include <attn/communicator.hpp>
#include <attn/error.hpp>
#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>
#include <thread>

using namespace attn;

namespace {

using ProcessGroup = std::vector<std::unique_ptr<Communicator>>;

// body on a thread for each rank; the texts of what they threw.
std::vector<std::string> on_ranks(ProcessGroup& ranks,
                                  const std::function<void(Communicator&)>& body) {
  std::vector<std::string> texts(ranks.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks.size(); ++r)
    threads.emplace_back([&, r] {
      try {
        body(*ranks[r]);
      } catch (const std::exception& e) {
        texts[r] = e.what();
      }
    });
  for (std::thread& t : threads) t.join();
  return texts;
}

template <class T>
std::span<std::byte> bytes(std::vector<T>& v) {
  return std::as_writable_bytes(std::span(v));
}

}  // namespace

TEST_CASE("ranks: exchange round a ring, while the memory is not touched") {
  for (const int size : {1, 2, 3, 5}) {
    ProcessGroup ranks = make_thread_communicators(size);
    std::vector<int> sums(static_cast<size_t>(size));
    const auto texts = on_ranks(ranks, [&](Communicator& m) {
      std::vector<int> mine{m.rank() + 1}, theirs{0};
      int sum = mine[0];
      for (int step = 1; step < m.size(); ++step) {
        m.start_sendrecv((m.rank() + 1) % size, bytes(mine), (m.rank() + size - 1) % size,
                         bytes(theirs));
        m.wait();
        std::swap(mine, theirs);
        sum += mine[0];
      }
      sums[static_cast<size_t>(m.rank())] = sum;
    });
    CHECK(texts == std::vector<std::string>(static_cast<size_t>(size)));
    for (const int sum : sums) CHECK(sum == size * (size + 1) / 2);
  }
}

TEST_CASE("ranks: broadcasts and gatherings, empty ones as well") {
  ProcessGroup ranks = make_thread_communicators(4);
  std::atomic<int> right{0};
  const auto texts = on_ranks(ranks, [&](Communicator& m) {
    for (int root = 0; root < 4; ++root) {
      std::vector<int> x(100, m.rank() == root ? 7 + root : 0);
      m.broadcast(root, bytes(x));
      right += std::accumulate(x.begin(), x.end(), 0) == 100 * (7 + root);
    }
    m.broadcast(2, {});
    // Rank r gives r bytes.
    std::vector<unsigned char> own(static_cast<size_t>(m.rank()),
                                   static_cast<unsigned char>(m.rank()));
    std::vector<unsigned char> all(6);
    const std::vector<uint64_t> sizes{0, 1, 2, 3};
    m.all_gather(bytes(own), bytes(all), sizes);
    right += all == std::vector<unsigned char>{1, 2, 2, 3, 3, 3};
    // To oneself.
    std::vector<int> from{m.rank()}, to{-1};
    m.start_sendrecv(m.rank(), bytes(from), m.rank(), bytes(to));
    m.wait();
    right += to[0] == m.rank();
  });
  CHECK(texts == std::vector<std::string>(4));
  CHECK(right == 4 * 6);
}

TEST_CASE("ranks: sums are the same bits for all, added up in double in their order") {
  for (const int size : {1, 2, 3, 5})
    for (const size_t n : {0, 1, 4, 1000}) {
      ProcessGroup ranks = make_thread_communicators(size);
      std::vector<std::vector<float>> x(static_cast<size_t>(size));
      std::vector<std::vector<double>> y(static_cast<size_t>(size));
      std::vector<float> sum;
      for (size_t i = 0; i < n; ++i) {
        double s = 0;
        for (size_t r = 0; r < x.size(); ++r) {
          x[r].push_back(1.0F / static_cast<float>(1 + r + 3 * i));
          y[r].push_back(static_cast<double>(r + i));
          s += static_cast<double>(x[r][i]);
        }
        sum.push_back(static_cast<float>(s));
      }
      const auto texts = on_ranks(ranks, [&](Communicator& m) {
        m.all_reduce(x[static_cast<size_t>(m.rank())]);
        m.all_reduce(y[static_cast<size_t>(m.rank())]);
      });
      CHECK(texts == std::vector<std::string>(static_cast<size_t>(size)));
      for (size_t r = 0; r < x.size(); ++r) {
        CHECK((n == 0 || std::memcmp(x[r].data(), sum.data(), n * sizeof(float)) == 0));
        for (size_t i = 0; i < n; ++i)
          REQUIRE(y[r][i] ==
                  static_cast<double>(static_cast<size_t>(size) * i) + 0.5 * (size - 1) * size);
      }
    }
}

TEST_CASE("ranks: one that is destroyed or fails wakes the others") {
  using std::chrono::milliseconds;
  ProcessGroup ranks = make_thread_communicators(3);
  auto texts = on_ranks(ranks, [&](Communicator& m) {
    std::vector<int> x(1);
    if (m.rank() == 2) {
      std::this_thread::sleep_for(milliseconds(50));  // the others are asleep by then
      ranks[2].reset();
      return;
    }
    m.broadcast(2, bytes(x));
  });
  CHECK(texts[0] == "communicator: rank 2 of 3 is gone");
  CHECK(texts[1] == texts[0]);

  ranks = make_thread_communicators(3);
  texts = on_ranks(ranks, [&](Communicator& m) {
    std::vector<int> x(1000);
    if (m.rank() == 2) {
      std::this_thread::sleep_for(milliseconds(50));
      return m.fail("no paper");
    }
    // One waits for a message, one for its message to be taken.
    if (m.rank() == 0) m.start_sendrecv(2, bytes(x), 1, {});
    if (m.rank() == 1) m.start_sendrecv(0, {}, 2, bytes(x));
    m.wait();
  });
  CHECK(texts[0] == "communicator: rank 2 of 3 failed: no paper");
  CHECK(texts[1] == texts[0]);
  std::vector<int> x(1);
  CHECK_THROWS_AS(ranks[0]->broadcast(1, bytes(x)), Failure);  // used up

  // What was sent before is still there for those who come late.
  ranks = make_thread_communicators(2);
  int got = 0;
  texts = on_ranks(ranks, [&](Communicator& m) {
    std::vector<int> y{m.rank() == 0 ? 5 : 0};
    if (m.rank() == 1) std::this_thread::sleep_for(milliseconds(20));
    m.broadcast(0, bytes(y));
    if (m.rank() == 1) got = y[0];
    if (m.rank() == 0) ranks[0].reset();
  });
  CHECK(texts == std::vector<std::string>(2));
  CHECK(got == 5);
}

TEST_CASE("ranks: a message of another size is no message") {
  ProcessGroup ranks = make_thread_communicators(2);
  const auto texts = on_ranks(ranks, [&](Communicator& m) {
    std::vector<int> x(m.rank() == 0 ? 2 : 3);
    try {
      m.broadcast(0, bytes(x));
    } catch (const Failure& e) {
      m.fail(e.what());
      throw;
    }
  });
  CHECK(texts[1] == "communicator: rank 0 sent 8 bytes, expected 12");
  CHECK_THAT(texts[0], Catch::Matchers::Contains("rank 1 of 2 failed"));
}

TEST_CASE("ranks: what is refused") {
  CHECK_THROWS_AS(make_thread_communicators(0), InvalidArgument);
  ProcessGroup ranks = make_thread_communicators(2);
  std::vector<int> x(1), y(2);
  CHECK_THROWS_AS(ranks[0]->start_sendrecv(2, bytes(x), 1, bytes(x)), InvalidArgument);
  CHECK_THROWS_AS(ranks[0]->start_sendrecv(0, bytes(x), 1, bytes(x)), InvalidArgument);
  CHECK_THROWS_AS(ranks[0]->start_sendrecv(0, bytes(x), 0, bytes(y)), InvalidArgument);
  CHECK_THROWS_AS(ranks[0]->start_broadcast(-1, bytes(x)), InvalidArgument);
  const std::vector<uint64_t> sizes{4, 8};
  CHECK_THROWS_AS(ranks[0]->all_gather(bytes(x), bytes(y), sizes), InvalidArgument);
}

TEST_CASE("ranks: parts of a sequence") {
  for (const int64_t seq : {0, 1, 3, 9, 100})
    for (const int size : {1, 2, 4, 7})
      for (const int64_t multiple : {1, 4, 16}) {
        int64_t next = 0;
        for (int rank = 0; rank < size; ++rank) {
          const TokenRange r = sequence_part(seq, rank, size, multiple);
          REQUIRE(r.begin == next);
          REQUIRE(r.end >= r.begin);
          REQUIRE((r.begin % multiple == 0 || r.begin == seq));
          if (multiple == 1) REQUIRE(r.begin == rank * seq / size);
          next = r.end;
        }
        REQUIRE(next == seq);
      }
  CHECK(sequence_part(100, 1, 2, 16).begin == 48);
  const int64_t huge = int64_t{1} << 62;
  CHECK(sequence_part(huge, 999, 1000).end == huge);
  CHECK_THROWS_AS(sequence_part(-1, 0, 1), InvalidArgument);
  CHECK_THROWS_AS(sequence_part(1, 1, 1), InvalidArgument);
  CHECK_THROWS_AS(sequence_part(1, 0, 1, 0), InvalidArgument);
}
