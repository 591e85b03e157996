#include "cli/command.hpp"

int main(int argc, char** argv) {
  return stem::cli::run(argc, argv);
}
