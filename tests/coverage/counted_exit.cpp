// In a build that counts which lines run (-Db_coverage=true), the linker puts this in the place of _exit(),
// which would throw the counts away: children of the pool, and processes on their way into the background,
// end by it.
extern "C" {
void __gcov_dump();
[[noreturn]] void __real__exit(int status);
[[gnu::visibility("default"), noreturn]] void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}
}
