// SPDX-License-Identifier: Apache-2.0
#include "host/picture/sections.hpp"

#include <fmt/format.h>
#include <attn/error.hpp>

#include <algorithm>
#include <cmath>

#include "host/picture/meaning.hpp"

namespace attn::picture {

namespace {

constexpr int64_t kMostCells = 256;  // of an axis; longer ones show the greatest of several

bool is_map(const Observed& o) { return o.name == "map" && o.value.shape().rank() == 4; }

std::vector<double> doubles(const Array& a) { return a.astype(ATTN_F64).to_vector<double>(); }

// The row of the batch that is drawn.
std::vector<double> row_of(const Observed& o, const Wishes& wishes) {
  const int64_t rows = o.value.shape()[0], row = wishes.row;
  const std::string option = wishes.prefix + "row";
  if (row < 0 || row >= rows)
    throw InvalidArgument(
        fmt::format("{}: there is no row {} in '{}', which has {}", option, row, o.name, rows),
        {.where = option, .value = std::to_string(row), .expected = "a row of the batch, from 0"});
  const std::vector<double> all = doubles(o.value);
  const auto size = static_cast<std::ptrdiff_t>(all.size()) / rows;
  return {all.begin() + row * size, all.begin() + (row + 1) * size};
}

// A plane of no more than kMostCells a side: each cell the greatest in magnitude of those that it stands for.
Plane pooled(const Plane& p, int64_t down, int64_t across) {
  if (down == 1 && across == 1) return p;
  Plane out{p.title, (p.rows + down - 1) / down, (p.columns + across - 1) / across};
  out.values.assign(static_cast<size_t>(out.rows * out.columns), 0);
  for (int64_t i = 0; i < p.rows; ++i)
    for (int64_t j = 0; j < p.columns; ++j) {
      double& cell = out.values[static_cast<size_t>(i / down * out.columns + j / across)];
      const double v = p.values[static_cast<size_t>(i * p.columns + j)];
      if (std::fabs(v) > std::fabs(cell)) cell = v;
    }
  return out;
}

void shorten(Axis& axis, int64_t step) {
  axis.step = step;
  std::vector<std::string> kept;
  for (size_t i = 0; i < axis.texts.size(); i += static_cast<size_t>(step))
    kept.push_back(axis.texts[i]);
  axis.texts = kept;
}

void fit(Section& s) {
  const int64_t most = s.kind == Kind::squares ? kMostCells : 3 * kMostCells;
  const auto step = [&](int64_t n) { return (n + most - 1) / most; };
  const Plane& first = s.planes.front();
  const int64_t down = step(first.rows), across = step(first.columns);
  if (down == 1 && across == 1) return;
  for (Plane& p : s.planes) p = pooled(p, down, across);
  shorten(s.rows, down);
  shorten(s.columns, across);
  s.note += fmt::format("; each cell is the greatest of {} x {}", down, across);
}

struct Grid {
  int64_t rows = 0, columns = 0;
};

class Sections {
 public:
  Sections(const Subject& subject, const Wishes& wishes) : subject_(subject), wishes_(wishes) {
    for (const Observed& o : subject.observed)
      if (is_map(o)) maps_.push_back(&o);
    if (wishes.grid)
      grid_ = {wishes.grid->first, wishes.grid->second};
    else if (subject.input.rank() == 4)
      grid_ = {subject.input[1], subject.input[2]};
  }

  std::vector<Section> all() {
    for (const Observed* map : maps_) add_over_grid(*map);
    for (const Observed& o : subject_.observed) add(o);
    add_difference();
    for (Section& s : out_)
      if (s.kind != Kind::blocks && s.kind != Kind::lines && s.kind != Kind::number) fit(s);
    return std::move(out_);
  }
  [[nodiscard]] const Used& used() const { return used_; }

 private:
  [[nodiscard]] std::string heading(const Observed& o) const {
    const Meaning* m = meaning(o.name);
    const bool only = std::all_of(
        subject_.observed.begin(), subject_.observed.end(),
        [&](const Observed& other) { return other.name != o.name || other.label == o.label; });
    return (only || o.label.empty() ? "" : o.label + ": ") + (m ? m->heading : o.name);
  }

  [[nodiscard]] Axis axis(const Observed& o, const std::string& name, int64_t size) {
    Axis a{name};
    const Observe part = o.name == "map" ? wishes_.part : Observe{};
    const auto label = [&](const std::vector<std::string>& texts, int64_t first, int64_t count,
                           bool& used, int64_t& wanted) {
      a.first = first;
      wanted = first + size;
      const auto n = static_cast<int64_t>(texts.size());
      if (first > 0 || count > 0 ? n < first + size : n != size) return;
      a.texts.assign(texts.begin() + first, texts.begin() + first + size);
      used = true;
    };
    if (name == "query" || name == "position") {
      label(wishes_.query_labels, part.query, part.queries, used_.query_labels, used_.positions);
    } else if (name == "key") {
      bool shared = false;
      label(wishes_.key_labels, part.key, part.keys, used_.key_labels, used_.keys);
      if (wishes_.key_labels.empty())
        label(wishes_.query_labels, part.key, part.keys, shared, used_.keys);
    } else if (name == "distance") {
      a.first = 1 - number_of_queries();
    }
    return a;
  }
  [[nodiscard]] int64_t number_of_queries() const {
    for (const Observed& o : subject_.observed)
      if (o.name == "entropy" || o.name == "row_max") return o.value.shape()[2];
    return subject_.input.rank() == 3 ? subject_.input[1] : 1;
  }

  Section& start(const Observed& o, Kind kind, const char* rows, const char* columns,
                 const Shape& extents) {
    const Meaning* m = meaning(o.name);
    Section s{kind, m ? o.name : o.label + "." + o.name, heading(o), "", m ? m->unit : o.name};
    s.rows = axis(o, m ? m->rows : rows, extents[0]);
    s.columns = axis(o, m ? m->columns : columns, extents[1]);
    if (kind == Kind::squares || kind == Kind::plane)
      s.note = "down: " + s.rows.name + ", across: " + s.columns.name;
    if (o.value.shape()[0] > 1 && kind != Kind::blocks)
      s.note += fmt::format("{}row {} of {}", s.note.empty() ? "" : "; ", wishes_.row,
                            o.value.shape()[0]);
    return out_.emplace_back(std::move(s));
  }

  void add(const Observed& o) {
    const Shape& shape = o.value.shape();
    if (o.value.size() == 0) return;
    if (o.name == "schedule" && shape.rank() == 2 && shape[1] == 3) {
      start(o, Kind::blocks, "step", "token", shape).planes = {{"", shape[0], 3, doubles(o.value)}};
    } else if (shape.rank() == 4 && meaning(o.name)) {
      add_heads(o, start(o, Kind::squares, "query", "key", {shape[2], shape[3]}));
    } else if (shape.rank() == 4 && shape[3] == 1 && shape[2] > 1) {
      const bool heads = of_heads(shape) && subject_.input.rank() != 4;
      start(o, Kind::squares, heads ? "head" : "y", heads ? "query" : "x", {shape[1], shape[2]})
          .planes = {{"", shape[1], shape[2], row_of(o, wishes_)}};
    } else if (shape.rank() == 4 && (shape[1] > 1 || shape[2] > 1)) {
      add_heads(o, start(o, Kind::squares, "row", "column", {shape[2], shape[3]}));
    } else if (shape.rank() == 3 && (shape[1] > 1 || shape[2] > 1)) {
      add_plane(o);
    } else if (shape.rank() > 1 || o.value.size() > 1) {
      const std::vector<double> values = shape.rank() > 1 ? row_of(o, wishes_) : doubles(o.value);
      const auto n = static_cast<int64_t>(values.size());
      start(o, Kind::bars, "", "feature", {1, n}).planes = {{"", 1, n, values}};
    } else {
      Section& s = start(o, Kind::number, "", "", {1, 1});
      s.planes = {{"", 1, 1, doubles(o.value)}};
    }
  }

  void add_heads(const Observed& o, Section& s) {
    const Shape& shape = o.value.shape();
    const std::vector<double> values = row_of(o, wishes_);
    const auto size = static_cast<std::ptrdiff_t>(shape[2] * shape[3]);
    const int64_t first = o.name == "map" ? wishes_.part.head : 0;
    const Meaning* m = meaning(o.name);
    for (int64_t h = 0; h < shape[1]; ++h)
      s.planes.push_back({fmt::format("{} {}", m ? m->planes : "plane", first + h),
                          shape[2],
                          shape[3],
                          {values.begin() + h * size, values.begin() + (h + 1) * size}});
  }

  // What has a value for each head and query of a map is taken to be that.
  [[nodiscard]] bool of_heads(const Shape& shape) const {
    return std::any_of(maps_.begin(), maps_.end(), [&](const Observed* map) {
      return map->value.shape()[1] == shape[1] && map->value.shape()[2] == shape[2];
    });
  }

  void add_plane(const Observed& o) {
    const Shape& shape = o.value.shape();
    std::vector<const Observed*> same;
    for (const Observed& other : subject_.observed)
      if (other.name == o.name && other.value.shape() == shape) same.push_back(&other);
    const Meaning* m = meaning(o.name);
    const bool heads = of_heads(shape);
    const char *rows = heads ? "head" : "position", *columns = heads ? "query" : "feature";
    if (same.size() < 2 || m)
      start(o, Kind::plane, rows, columns, {shape[1], shape[2]}).planes = {
          {"", shape[1], shape[2], row_of(o, wishes_)}};
    else if (same.front() == &o)
      add_course(same, rows);
  }

  // One quantity at several places of the call: a line for each row, its mean.
  void add_course(const std::vector<const Observed*>& same, const char* rows) {
    const Observed& o = *same.front();
    const int64_t heads = o.value.shape()[1], n = o.value.shape()[2];
    const auto steps = static_cast<int64_t>(same.size());
    Section& s = start(o, Kind::lines, rows, "step", {heads, steps});
    s.heading = o.name + " from step to step";
    s.columns = {"step"};
    s.note = "mean of each " + s.rows.name + (s.note.empty() ? "" : "; " + s.note);
    Plane p{"", heads, steps, std::vector<double>(static_cast<size_t>(heads * steps))};
    for (int64_t t = 0; t < steps; ++t) {
      const std::vector<double> values = row_of(*same[static_cast<size_t>(t)], wishes_);
      for (int64_t i = 0; i < heads * n; ++i)
        p.values[static_cast<size_t>(i / n * steps + t)] +=
            values[static_cast<size_t>(i)] / static_cast<double>(n);
      s.columns.texts.push_back(same[static_cast<size_t>(t)]->label);
    }
    s.planes = {p};
  }

  // Of two maps that a layer combines: the first less lambda times the second.
  void add_difference() {
    const auto lambda = std::find_if(subject_.observed.begin(), subject_.observed.end(),
                                     [](const Observed& o) { return o.name == "lambda"; });
    if (lambda == subject_.observed.end() || maps_.size() != 2 ||
        maps_[0]->value.shape() != maps_[1]->value.shape())
      return;
    const std::vector<double> factors = doubles(lambda->value);
    const auto heads = static_cast<size_t>(maps_[0]->value.shape()[1]);
    if (factors.size() != 1 && factors.size() != heads) return;
    const Observed& difference = *maps_[0];
    const Shape& shape = difference.value.shape();
    Section& s = start(difference, Kind::squares, "query", "key", {shape[2], shape[3]});
    add_heads(difference, s);
    s.key = "difference";
    s.heading =
        fmt::format("difference: {} less lambda times {}", maps_[0]->label, maps_[1]->label);
    const std::vector<double> other = row_of(*maps_[1], wishes_);
    for (size_t h = 0; h < heads; ++h) {
      std::vector<double>& values = s.planes[h].values;
      for (size_t i = 0; i < values.size(); ++i)
        values[i] -= factors[factors.size() > 1 ? h : 0] * other[h * values.size() + i];
    }
  }

  // The grid that n positions are in: the image's, one of fewer cells, or a window of it; no rows: none.
  [[nodiscard]] Grid grid_of(int64_t n, const Shape& map) const {
    for (int64_t f = 1; f <= 8 && grid_.rows > 0; ++f)
      if (const Grid g{(grid_.rows + f - 1) / f, (grid_.columns + f - 1) / f};
          g.rows * g.columns == n)
        return g;
    const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(n))));
    return map[0] > subject_.input[0] && side * side == n && side > 1 ? Grid{side, side} : Grid{};
  }

  void add_over_grid(const Observed& map) {
    const Shape& shape = map.value.shape();
    const Grid keys = grid_of(shape[3], shape);
    if (keys.rows == 0 || wishes_.part.key > 0) return;
    const Grid queries = wishes_.part.query == 0 ? grid_of(shape[2], shape) : Grid{};
    const int64_t begin = wishes_.part.query;
    const int64_t shown =
        wishes_.query.value_or(begin + queries.rows / 2 * queries.columns + queries.columns / 2);
    const std::string option = wishes_.prefix + "query";
    if (shown < begin || shown >= begin + shape[2])
      throw InvalidArgument(
          fmt::format("{}: there is no query {}; the map has {} to {}", option, shown, begin,
                      begin + shape[2] - 1),
          {.where = option, .value = std::to_string(shown), .expected = "a query of the map"});
    used_.grid = true;
    Section& s = start(map, Kind::squares, "query", "key", {shape[2], shape[3]});
    const bool framed = queries.rows > 0;
    const int64_t y = framed ? shown / queries.columns : 0,
                  x = framed ? shown % queries.columns : 0;
    const std::string where = framed ? fmt::format(" (y {}, x {})", y, x) : "";
    const size_t colon = s.heading.find(": ");
    s.heading = (colon == std::string::npos ? "" : s.heading.substr(0, colon + 2)) +
                fmt::format("weights of query {}{} over the grid", shown, where);
    s.key = "query";  // few of all weights: on the scale of the maps most would be pale
    s.rows = {"y"}, s.columns = {"x"};
    s.note = shape[0] > 1 ? fmt::format("row {} of {}", wishes_.row, shape[0]) : "";
    if (framed) s.note += std::string(s.note.empty() ? "" : "; ") + "framed: the query";
    Section heads;
    add_heads(map, heads);
    for (Plane& p : heads.planes) {
      const auto from = p.values.begin() + (shown - begin) * shape[3];
      Plane& over =
          s.planes.emplace_back(Plane{p.title, keys.rows, keys.columns, {from, from + shape[3]}});
      if (!framed) continue;
      const double down = static_cast<double>(keys.rows) / static_cast<double>(queries.rows);
      const double across =
          static_cast<double>(keys.columns) / static_cast<double>(queries.columns);
      over.mark = {static_cast<double>(x) * across, static_cast<double>(y) * down, across, down};
    }
  }

  const Subject& subject_;
  const Wishes& wishes_;
  std::vector<const Observed*> maps_{};
  Grid grid_{};
  std::vector<Section> out_{};
  Used used_{};
};

}  // namespace

std::vector<Section> sections_of(const Subject& subject, const Wishes& wishes, Used& used) {
  Sections sections(subject, wishes);
  std::vector<Section> all = sections.all();
  used.grid |= sections.used().grid;
  used.query_labels |= sections.used().query_labels;
  used.key_labels |= sections.used().key_labels;
  if (used.positions == 0) used.positions = sections.used().positions;
  if (used.keys == 0) used.keys = sections.used().keys;
  return all;
}

}  // namespace attn::picture
