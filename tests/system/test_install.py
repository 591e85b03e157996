"""What `meson install` lays out, and that it is usable where it lies."""

from box import Skip, allow

PROGRAM = """\
#include <iostream>
#include <stem/module.hpp>
#include <stem/stem.hpp>
#include <stem/version.hpp>
#include <stem/worker.hpp>

int main() {
  stem::Registry tasks;
  tasks.add("greet", [](stem::TaskContext& job) { return job.args(); });
  stem::Config config;
  config.broker_url = "sqlite:///tmp/program.db";
  stem::Stem client{config};
  const auto id = client.enqueue("greet", {{"name", "box"}});
  std::cout << stem::version << ' ' << tasks.all().size() << ' ' << client.result(id).has_value() << '\\n';
}
"""


def unit_files(stage):
    """But those that are masked."""
    return [path for path in stage.files() if path.startswith(("/lib/systemd/", "/usr/lib/systemd/"))
            and path.endswith((".service", ".target", ".slice", ".socket", ".timer")) and not (stage.root / path.lstrip("/")).is_symlink()]


def test_the_tree_is_complete(stage):
    files = stage.files()
    headers = sorted(path.name.removesuffix(".in") for path in (stage.source / "src/include/stem").glob("*.hpp*"))
    assert len(headers) > 10, headers
    for header in headers:
        assert f"/usr/include/stem/{header}" in files, f"{header} is not installed"
    assert "/usr/bin/stem" in files
    for suffix in ("/libstem.so", "/pkgconfig/stem.pc"):
        assert any(path.endswith(suffix) for path in files), f"no {suffix} is installed"
    for page in (stage.source / "man").glob("*.[1-8]"):
        assert any(f"/share/man/man{page.suffix[1:]}/{page.name}" in path for path in files), page.name
    for unit in (stage.source / "units").glob("*.service*"):
        name = unit.name.removesuffix(".in")
        assert any(path.endswith("/" + name) for path in unit_files(stage)), f"{name} is not installed"


def test_nothing_of_the_build_machine_is_in_the_text_files(stage):
    for path in stage.files():
        file = stage.root / path.lstrip("/")
        if file.is_symlink() or path.startswith(("/usr/bin", "/usr/lib/x86", "/usr/lib/aarch")) and not path.endswith(".pc"):
            continue
        data = file.read_bytes()
        for word in (str(stage.root), str(stage.build), str(stage.source)):
            assert word.encode() not in data, f"{path} holds {word}"
        assert b"@" not in data or b"@bindir@" not in data, f"{path} was not filled in"


def test_the_program_runs_from_the_tree_and_finds_its_libraries(box):
    assert box.run(["stem", "--version"]).stdout.strip()
    assert "not found" not in box.run(["ldd", "/usr/bin/stem"]).stdout


@allow(seconds=180)
def test_a_program_that_finds_stem_through_pkg_config_builds_and_runs(box):
    box.write("/tmp/program.cpp", PROGRAM)
    box.run("g++ -std=c++20 -Wall -Wextra -Werror -o /tmp/program /tmp/program.cpp $(pkg-config --cflags --libs stem)",
            timeout=150)
    version = box.run(["pkg-config", "--modversion", "stem"]).stdout.strip()
    assert box.run(["/tmp/program"]).stdout.split()[:2] == [version, "1"]


@allow(seconds=180)
def test_a_task_module_builds_against_the_installed_headers(box):
    box.write("/tmp/module.cpp", '#include <stem/module.hpp>\n'
              'STEM_MODULE(tasks) { tasks.add("one", [](stem::TaskContext&) { return 1; }); }\n')
    box.run("g++ -std=c++20 -Wall -Wextra -Werror -shared -fPIC -o /tmp/module.so /tmp/module.cpp "
            "$(pkg-config --cflags --libs stem)", timeout=150)
    names = box.run("nm -D --defined-only /tmp/module.so").stdout
    assert "stem_register_tasks" in names and "stem_module_abi_version" in names


def test_systemd_finds_nothing_to_say_about_the_units(box, stage):
    units = unit_files(stage)
    if not units:
        raise Skip("no unit is installed yet")
    names = [path.rsplit("/", 1)[1] for path in units if "/system/" in path]
    names = [name.replace("@.", "@x.") for name in names]
    ran = box.run(["systemd-analyze", "verify", "--man=no", *names])
    assert (ran.stdout + ran.stderr).strip() == "", ran.stdout + ran.stderr


def test_every_unit_knows_a_manual_page_that_is_there(box, stage):
    units = unit_files(stage)
    if not units:
        raise Skip("no unit is installed yet")
    for path in units:
        for line in box.read(path).splitlines():
            for reference in line.removeprefix("Documentation=").split() if line.startswith("Documentation=") else []:
                if reference.startswith("man:"):
                    name, section = reference[4:].rstrip(")").split("(")
                    box.run(["man", "--where", section, name])
