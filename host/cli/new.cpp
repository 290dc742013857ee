// SPDX-License-Identifier: Apache-2.0
//
// attn new: a plugin project from one of the templates in sdk/, under names of the caller's own.
//
// A template is a project as it stands. That of `basic` (template/) has what all share; another one (template-KIND/) adds
// its files and replaces those of the same name, and what its README says stands below the shared one. The names in the
// files are those of the template's layer.json: example.some_type, and from it some_type and SomeType.
#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/safetensors.hpp>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>

#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/library/loader/schema_check.hpp"

namespace attn::cli {

namespace {

namespace fs = std::filesystem;

struct NewOptions {
  std::string id, kind = "basic", directory;
};

// org.example.my_type, my_type and MyType.
struct Names {
  std::string id, name, class_name;
};

Names names_of(const std::string& id) {
  Names out{id, id.substr(id.rfind('.') + 1), ""};
  bool begins = true;
  for (const char c : out.name) {
    if (c != '_') out.class_name += begins ? static_cast<char>(std::toupper(c)) : c;
    begins = c == '_';
  }
  return out;
}

void check_id(const std::string& id) {
  constexpr size_t kMost = 56;  // its operators have longer names
  const auto refuse = [&](const std::string& what, const std::string& expected) {
    throw InvalidArgument("'" + id + "' " + what,
                          {.where = "attn new",
                           .value = id,
                           .expected = expected,
                           .hint = "for example attn new org.example.my_type"});
  };
  if (!loader::is_dotted_name(id.c_str()))
    refuse("is no id of a type",
           "words of lower-case letters, digits and '_' that begin with a letter, joined by dots");
  if (id.find('.') == std::string::npos)
    refuse("has no dot; such ids are reserved for types that come with the library",
           "a word of your own in front of it");
  if (id.size() > kMost) refuse("is too long", "at most " + std::to_string(kMost) + " characters");
  // Names of targets that CMake keeps for itself.
  static const std::set<std::string> kTaken{
      "all",     "clean",          "edit_cache", "help", "install",
      "package", "package_source", "preinstall", "test", "rebuild_cache"};
  if (kTaken.contains(names_of(id).name))
    refuse("ends in a word that CMake keeps for itself", "another last word");
}

// The folders of the templates by the names that users give.
std::map<std::string, fs::path> find_templates() {
  std::map<std::string, fs::path> out;
  const fs::path root = find_shared("templates", "install the package attn-sdk");
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(root, ec)) {
    const std::string folder = entry.path().filename();
    if (folder == "template") out["basic"] = entry.path();
    if (folder.starts_with("template-")) out[folder.substr(9)] = entry.path();
  }
  return out;
}

// Whether the file belongs to a build in the folder, and not to the template.
bool is_product(const fs::path& relative) {
  return *relative.begin() == "build" || relative.parent_path().filename() == "__pycache__";
}

std::string in_words(const std::map<std::string, fs::path>& templates) {
  std::string list;
  for (const auto& [kind, path] : templates) list += (list.empty() ? "" : ", ") + kind;
  return list;
}

class Project {
 public:
  Project(const NewOptions& options, const std::map<std::string, fs::path>& templates)
      : target_(names_of(options.id)) {
    const auto chosen = templates.find(options.kind);
    const auto basic = templates.find("basic");
    if (chosen == templates.end() || basic == templates.end())
      throw InvalidArgument("there is no template '" + options.kind + "'",
                            {.where = "attn new --template",
                             .value = options.kind,
                             .expected = "one of " + in_words(templates),
                             .hint = "attn new --help says what each is for"});
    add_template(basic->second, chosen == basic);
    if (chosen != basic) add_template(chosen->second, true);
  }

  // Into a directory that this creates; gone again when something fails.
  std::vector<std::string> write(const fs::path& directory) const {
    std::error_code ec;
    if (!fs::create_directory(directory, ec)) {
      const bool there = !ec || ec == std::errc::file_exists;
      throw InvalidArgument(
          directory.string() +
              (there ? ": exists already" : ": cannot be created (" + ec.message() + ")"),
          {.where = directory.string(),
           .expected =
               there ? "a name that is free; nothing is overwritten" : "a directory to write to",
           .hint = "give another one by --directory DIR"});
    }
    try {
      std::vector<std::string> written;
      for (const auto& [name, sources] : files_) {
        written.push_back(name);
        fs::create_directories((directory / name).parent_path());
        write_file(directory / name, sources);
      }
      return written;
    } catch (...) {
      fs::remove_all(directory, ec);
      throw;
    }
  }

  [[nodiscard]] const Names& names() const { return target_; }

 private:
  // own: with the files that bear the template's name.
  void add_template(const fs::path& folder, bool own) {
    const std::string layer = (folder / "layer.json").string();
    const Json config = parse_config(read_text_file(layer, "a template"), layer);
    sources_.push_back(names_of(config.at("attention").at("type").as_string()));
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      const fs::path relative = fs::relative(entry.path(), folder);
      if (!entry.is_regular_file() || is_product(relative)) continue;
      const std::string file = relative.string();
      if (!own && file.find(sources_.back().name) != std::string::npos) continue;
      std::vector<fs::path>& from = files_[renamed(file)];
      if (file != "README.md") from.clear();
      from.push_back(entry.path());
    }
  }

  // The text with the template's names replaced, in one pass: what was put in is not looked at again.
  [[nodiscard]] std::string renamed(const std::string& text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const auto replace = [&](const std::string& from, const std::string& to) {
        if (text.compare(at, from.size(), from) != 0) return false;
        out += to;
        at += from.size();
        return true;
      };
      bool found = false;
      for (const Names& source : sources_)
        found = found || replace(source.id, target_.id) || replace(source.name, target_.name) ||
                replace(source.class_name, target_.class_name);
      if (!found) out += text[at++];
    }
    return out;
  }

  void write_file(const fs::path& path, const std::vector<fs::path>& from) const {
    if (path.extension() == ".safetensors") return write_golden(path, from.front());
    std::string text;
    for (const fs::path& source : from)
      text += (text.empty() ? "" : "\n") + renamed(read_text_file(source.string(), "a template"));
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    if (!file)
      throw Failure(path.string() + ": cannot be written",
                    {.where = path.string(), .hint = "is the disk full?"});
    const auto executable = fs::status(from.front()).permissions() & fs::perms::owner_exec;
    if (executable != fs::perms::none)
      fs::permissions(path, fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec,
                      fs::perm_options::add);
  }

  // A golden case names the type that it is about.
  void write_golden(const fs::path& path, const fs::path& from) const {
    const SafetensorsFile file(from.string());
    std::vector<Array> arrays;
    std::vector<NamedView> tensors;
    arrays.reserve(file.entries().size());
    for (const SafetensorsEntry& e : file.entries()) {
      arrays.push_back(file.read(e.name));
      tensors.push_back({e.name, arrays.back().view()});
    }
    auto metadata = file.metadata();
    for (const char* key : {"type", "case"}) metadata.at(key) = renamed(metadata.at(key));
    save_safetensors(path.string(), tensors, metadata);
  }

  Names target_;
  std::vector<Names> sources_;
  std::map<std::string, std::vector<fs::path>> files_;  // what each is made of
};

int run_new(const Globals& globals, const NewOptions& o) {
  check_id(o.id);
  const Project project(o, find_templates());
  const Names& names = project.names();
  const fs::path directory = o.directory.empty() ? fs::path(names.name) : fs::path(o.directory);
  const std::vector<std::string> files = project.write(directory);
  if (globals.json) {
    Json list = Json::list({});
    for (const std::string& file : files) list.push_back(file);
    print_line(Json{{"directory", directory.string()},
                    {"type", names.id},
                    {"template", o.kind},
                    {"files", std::move(list)}}
                   .dump(1));
    return kDone;
  }
  print_line(visible(directory.string()) + ": a plugin project for " + names.id);
  for (const std::string& file : files) print_line("  " + file);
  print_line("Next:");
  print_line("  cd " + visible(directory.string()));
  print_line("  cmake -S . -B build && cmake --build build");
  print_line("  attn check build/" + names.name + ".so");
  return kDone;
}

}  // namespace

Command new_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "new", "Writes a plugin project: source, golden case, benchmark workload, README, CI script");
  auto o = std::make_shared<NewOptions>();
  app->add_option(
         "ID", o->id,
         "What configs will call the type, such as org.example.my_type: words of a-z, 0-9 and _, "
         "joined by dots; the last one also names the files")
      ->required();
  app->add_option("--template", o->kind,
                  "basic (default): attention on a sliding window with sinks, 50 lines of C++; "
                  "gate: a gate on feature maps; decode: a state of fixed size; "
                  "kernel: an operator with its gradient and loops for each instruction set; "
                  "c: plain C11")
      ->type_name("NAME");
  app->add_option("--directory", o->directory,
                  "Where to; created, never overwritten (default: the last word of ID)")
      ->type_name("DIR");
  add_examples(*app,
               {"attn new org.example.my_type", "attn new org.example.my_type --template kernel",
                "attn new org.example.my_type --directory /tmp/mine --json"});
  return {app, [&globals, o] { return run_new(globals, *o); }, true};
}

}  // namespace attn::cli
