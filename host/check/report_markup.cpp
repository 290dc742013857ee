// SPDX-License-Identifier: Apache-2.0
//
// The report as JUnit XML and as a page of HTML.
#include <fmt/format.h>

#include "host/check/report.hpp"
#include "host/cli/print.hpp"

namespace attn::check {
namespace {

// Text for XML and HTML: markup quoted, control characters escaped as for a terminal.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : cli::visible(text)) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #59636e; --line: #d8dee4; --back: #fff; --panel: #f6f8fa;
  --passed: #1a7f37; --failed: #cf222e; --warning: #9a6700; --skipped: #59636e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --quiet: #9198a1; --line: #3d444d; --back: #0d1117;
  --panel: #151b23; --passed: #3fb950; --failed: #f85149; --warning: #d29922; --skipped: #9198a1; } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0 0 1rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.bar { display: flex; height: .6rem; border-radius: .3rem; overflow: hidden; margin: .4rem 0; background: var(--line); }
.bar span { display: block; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
td { border-top: 1px solid var(--line); padding: .25rem .5rem .25rem 0; vertical-align: top; overflow-wrap: anywhere; }
td:nth-child(1) { width: 5rem; font-weight: 600; } td:nth-child(2) { width: 17rem; }
td:nth-child(4) { width: 4.5rem; text-align: right; color: var(--quiet); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--panel); padding: .4rem .6rem; margin: .3rem 0; overflow-x: auto; white-space: pre-wrap; }
.quiet { color: var(--quiet); }
.passed { color: var(--passed); } .failed { color: var(--failed); } .warning { color: var(--warning); }
.skipped { color: var(--skipped); }
)";

std::string preformatted(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + quoted(line);
  return text.empty() ? "" : "<pre>" + text + "</pre>";
}

std::string row(const Report& r, const Result& result) {
  const Outcome& o = result.outcome;
  const bool bad = o.verdict == Verdict::failed || o.verdict == Verdict::warned;
  std::string text = fmt::format("<span class=\"quiet\">{}</span>", quoted(result.test->promise));
  if (!o.message.empty()) text += "<br>" + quoted(o.message);
  if (bad && !o.witness.empty()) text += preformatted({o.witness});
  text += preformatted(o.lines);
  if (bad && !result.output.empty()) text += "<br>It printed: " + quoted(result.output);
  if (bad) text += preformatted({r.command(result)});
  std::string title = quoted(result.test->name);
  if (!result.type.empty() && r.types.size() > 1) title += "<br>" + quoted(result.type);
  return fmt::format(
      "<tr><td class=\"{0}\">{0}</td><td><code>{1}</code></td><td>{2}</td><td>{3:.2f} "
      "s</td></tr>\n",
      name(o.verdict), title, text, result.seconds);
}

}  // namespace

std::string to_html(const Report& r) {
  const std::string title = quoted(r.name.empty() ? r.file : r.name + " " + r.version);
  std::string types;
  for (const std::string& type : r.types) types += (types.empty() ? "" : ", ") + type;
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>attn check: {0}</title>\n<style>{1}</style></head><body>\n<h1>{0}</h1>\n<dl>",
      title, kStyle);
  const auto fact = [&](const char* what, const std::string& value) {
    if (!value.empty()) out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", what, quoted(value));
  };
  fact("file", r.file);
  fact("types", types);
  fact("ABI", r.abi);
  fact("build id", r.build_id);
  fact("checked with", fmt::format("attn check, seed {}{}", r.seed, r.quick ? ", quick" : ""));
  out +=
      "</dl>\n<p>" + counts(r) + fmt::format(", in {:.1f} s.</p>\n<div class=\"bar\">", r.seconds);
  for (const Verdict v : {Verdict::failed, Verdict::warned, Verdict::skipped, Verdict::passed})
    if (const size_t n = r.count(v))
      out += fmt::format("<span style=\"flex:{};background:var(--{})\"></span>", n, name(v));
  out += "</div>\n";
  // What needs attention first, then everything in order.
  std::string bad;
  for (const Verdict v : {Verdict::failed, Verdict::warned})
    for (const Result& result : r.results)
      if (result.outcome.verdict == v) bad += row(r, result);
  if (!bad.empty()) out += "<h2>What is wrong</h2>\n<table>\n" + bad + "</table>\n";
  const Test* last = nullptr;
  for (const Result& result : r.results) {
    if (result.outcome.verdict == Verdict::failed || result.outcome.verdict == Verdict::warned)
      continue;
    if (!last || last->group != result.test->group)
      out += fmt::format("{}<h2>{}</h2>\n<table>\n", last ? "</table>\n" : "",
                         name(result.test->group));
    last = result.test;
    out += row(r, result);
  }
  return out + (last ? "</table>\n" : "") + "</body></html>\n";
}

std::string to_junit(const Report& r) {
  std::string out =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"attn check\">\n";
  for (size_t i = 0; i < r.results.size();) {
    const Group group = r.results[i].test->group;
    size_t end = i, failures = 0, skips = 0;
    double seconds = 0;
    for (; end < r.results.size() && r.results[end].test->group == group; ++end) {
      failures += r.results[end].outcome.verdict == Verdict::failed;
      skips += r.results[end].outcome.verdict == Verdict::skipped;
      seconds += r.results[end].seconds;
    }
    out += fmt::format(
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" "
        "time=\"{:.3f}\">\n",
        name(group), end - i, failures, skips, seconds);
    for (; i < end; ++i) {
      const Result& result = r.results[i];
      const Outcome& o = result.outcome;
      const std::string of = result.type.empty() ? r.name : result.type;
      out += fmt::format("<testcase name=\"{}\" classname=\"{}.{}\" time=\"{:.3f}\">",
                         result.test->name, quoted(of), name(group), result.seconds);
      if (o.verdict == Verdict::failed)
        out +=
            fmt::format("<failure message=\"{}\">{}\n{}\n{}</failure>", quoted(o.message),
                        quoted(result.test->promise), quoted(o.witness), quoted(r.command(result)));
      if (o.verdict == Verdict::skipped)
        out += fmt::format("<skipped message=\"{}\"/>", quoted(o.message));
      if (o.verdict == Verdict::warned)
        out += "<system-out>warning: " + quoted(o.message) + "</system-out>";
      out += "</testcase>\n";
    }
    out += "</testsuite>\n";
  }
  return out + "</testsuites>\n";
}

}  // namespace attn::check
