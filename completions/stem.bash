# Completion of stem(1) for bash. It asks the program itself, so it knows what that knows.
# shellcheck shell=bash

# The commands, one a line: `worker start`.
_stem_commands() {
  stem --help 2>/dev/null | sed -n 's/^  stem \(.*[^ ]\)  .*/\1/p' | sed 's/  .*//'
}

# The options of a command, one a line.
_stem_options() {
  # shellcheck disable=SC2086 # words of a command
  stem $1 --help 2>/dev/null | sed -n 's/^  \(-[^ ]*\).*/\1/p' | tr , '\n'
}

_stem() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} all command='' typed='' word_list=''
  local -i i
  all=$(_stem_commands)
  for ((i = 1; i < COMP_CWORD && i < 3; i++)); do
    typed="${typed:+$typed }${COMP_WORDS[i]}"
    if grep -qxF -- "$typed" <<<"$all"; then command=$typed; fi
  done
  COMPREPLY=()
  if [[ -z $command ]]; then
    local next
    # The next word of each command that starts with what is typed.
    next=$(sed -n "s/^${typed:+$typed }\([^ ]*\).*/\1/p" <<<"$all")
    [[ -n $typed ]] || next+=$'\n--help\n--version'
    mapfile -t COMPREPLY < <(compgen -W "$next" -- "$word" | sort -u)
    return
  fi
  case $before in
    -A | --app | --env-file | --pidfile | --logfile | --workdir | --runtime-dir) return ;; # files, as bash does
    -n | --node | -w | --worker) word_list=nodes ;;
    --mode) mapfile -t COMPREPLY < <(compgen -W 'warm soft hard' -- "$word") && return ;;
    --supervisor) mapfile -t COMPREPLY < <(compgen -W 'auto systemd start-stop-daemon' -- "$word") && return ;;
    *) ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_stem_options "$command")" -- "$word")
  elif [[ $word_list == nodes || ($command == 'worker multi' && $COMP_CWORD -gt 3) ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(stem worker multi status 2>/dev/null | sed -n '2,$s/ .*//p')" -- "$word")
  elif [[ $command == 'worker multi' && $COMP_CWORD -eq 3 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_stem_actions)" -- "$word")
  fi
}

# The actions of `worker multi`, as its help lists them.
_stem_actions() {
  stem worker multi --help 2>/dev/null |
    sed -n '/^Positionals/,/^Options/s/^  action *//p' | grep -oE '[a-z]+' | grep -xE '[a-z]+' | grep -vxE 'or|and'
}

complete -o default -o bashdefault -F _stem stem
