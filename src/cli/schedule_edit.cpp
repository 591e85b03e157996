#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>

#include "cli/commands.hpp"
#include "cli/opened_book.hpp"
#include "cli/question.hpp"
#include "cli/schedule_file.hpp"
#include "cli/schedule_view.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t longest_file = 64 << 20;
constexpr int most_tries = 20;

struct Options {
  std::string file;
  std::vector<std::string> names;
  bool yes = false, dry_run = false;
};

std::string read_whole(const std::string& path) {
  std::ifstream opened;
  if (path != "-") {
    opened.open(path, std::ios::binary);
    if (!opened)
      throw Error(errno == EACCES ? Exit::no_permission : Exit::no_input,
                  "cannot read " + path + ": " + std::strerror(errno));
  }
  std::istream& in = path == "-" ? std::cin : opened;
  std::string text;
  for (char block[65536]; in.read(block, sizeof block), in.gcount() > 0;) {
    text.append(block, static_cast<std::size_t>(in.gcount()));
    if (text.size() > longest_file)
      throw Error(Exit::data, path + " is larger than 64 MiB: that is no file of schedules");
  }
  if (in.bad())
    throw Error(Exit::no_input, "cannot read " + path + ": " + std::strerror(errno) + "; is it a directory?");
  return text;
}

/// Commits; when somebody else was quicker, plans anew, unless a person has agreed to this very plan.
void commit(OpenedBook& book, SchedulePlan& plan, const std::function<SchedulePlan()>& make, bool agreed) {
  for (int tries = 1;; ++tries) try {
      return book.commit(plan.edit);
    } catch (const Error& error) {
      if (error.code() != Exit::try_again || agreed || tries == most_tries) throw;
      plan = make();
    }
}

/// Shows the plan, asks, commits.
int carry_out(OpenedBook& book, const std::function<SchedulePlan()>& make, const Options& options,
              const Common& common, const char* question) {
  auto plan = make();
  const bool apply = !options.dry_run && !plan.edit.empty();
  if (!common.json) std::cout << plan_text(plan) << std::flush;
  if (apply && question && !options.yes && !confirmed(question)) {
    std::cerr << "nothing was changed\n";
    return static_cast<int>(Exit::unhealthy);
  }
  if (apply) commit(book, plan, make, question && !options.yes);
  if (common.json)
    std::cout << to_json(plan, apply).dump(2) << '\n';
  else
    std::cout << plan_summary(plan)
              << (options.dry_run && !plan.edit.empty() ? " (dry run: nothing was done)" : "") << '\n';
  if (apply && !book.file().empty())
    std::cerr << "written to " << book.file()
              << ", which no scheduler reads; unset STEM_SCHEDULE_FILE and apply it to have it run\n";
  return 0;
}

OpenedBook opened(const Options& options, const Common& common) {
  return {load_config(common), options.dry_run ? OpenedBook::For::reading : OpenedBook::For::writing};
}

int apply(const Options& options, const Common& common) {
  const auto name = options.file == "-" ? "standard input" : options.file;
  const auto filed = read_schedules(name, read_whole(options.file));
  auto book = opened(options, common);
  const auto now = Clock::system().wall();
  for (const auto& [entry, line, says] : filed)
    if (entry.enabled && !entry.next_slot(now))
      std::cerr << "stem: " << name << ":" << line << ": schedule " << entry.name
                << " has no run after now\n";
  return carry_out(
      book, [&] { return plan_apply(*book, filed, now); }, options, common, "Apply this?");
}

int remove(const Options& options, const Common& common) {
  auto book = opened(options, common);
  return carry_out(
      book, [&] { return plan_removal(*book, options.names); }, options, common, "Delete this?");
}

int enable(const Options& options, const Common& common, bool enabled) {
  auto book = opened(options, common);
  const auto now = Clock::system().wall();
  return carry_out(
      book, [&] { return plan_enabling(*book, options.names, enabled, now); }, options, common, nullptr);
}

void add_names(CLI::App& app, Options& options, const char* meaning) {
  app.add_option("NAME", options.names, meaning)->required();
}

}  // namespace

Work define_schedule_apply(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-f,--file", options->file, "YAML or JSON file of schedules; - is standard input")
      ->type_name("FILE")
      ->required();
  app.add_flag("--dry-run", options->dry_run, "show what would change, and change nothing");
  app.add_flag("-y,--yes", options->yes, "do not ask");
  return [options, &common] { return apply(*options, common); };
}

Work define_schedule_delete(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  add_names(app, *options, "schedules to delete");
  app.add_flag("--dry-run", options->dry_run, "show what would be deleted, and delete nothing");
  app.add_flag("-y,--yes", options->yes, "do not ask");
  return [options, &common] { return remove(*options, common); };
}

Work define_schedule_enable(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  add_names(app, *options, "schedules to enable");
  return [options, &common] { return enable(*options, common, true); };
}

Work define_schedule_disable(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  add_names(app, *options, "schedules to disable");
  return [options, &common] { return enable(*options, common, false); };
}

}  // namespace stem::cli
