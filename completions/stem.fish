# Completion of stem(1) for fish. It asks the program itself, so it knows what that knows.

function __stem_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l current $words[-1]
    set -l lines (stem --help 2>/dev/null | string match -rg '^  stem (.*)')
    set -l typed
    set -l command
    for word in $words[2..-2]
        set typed (string join ' ' $typed $word)
        if string match -q "$typed  *" -- $lines
            set command $typed
            break
        end
    end
    if test -z "$command"
        for line in $lines
            set -l parts (string match -rg '^(.*?)  +(.*)' -- $line)
            if test -z "$typed"
                string split -m1 ' ' -- $parts[1] | head -n 1
            else if string match -q "$typed *" -- $parts[1]
                set -l rest (string replace "$typed " '' -- $parts[1] | string split ' ')
                printf '%s\t%s\n' $rest[1] $parts[2]
            end
        end
        test -n "$typed"; or printf '%s\n' --help --version
        return
    end
    set -l command_words (string split ' ' -- $command)
    if string match -q -- '-*' $current
        for line in (stem $command_words --help 2>/dev/null | string match -r '^  -.*')
            set -l names (string match -rg '^  (-\S+)' -- $line | string split ',')
            set -l meaning (string match -rg '  +(\S.*)$' -- (string sub -s 3 -- $line))
            for name in $names
                printf '%s\t%s\n' $name $meaning[-1]
            end
        end
    else if test "$command" = 'worker multi'; and test (count $words) -eq 4
        stem worker multi --help 2>/dev/null | string match -rg '^  action +(.*)' | string match -ra '[a-z]+' | string match -vr '^(or|and)$'
    else if test "$command" = 'worker multi'; or contains -- $words[-2] -n --node -w --worker
        stem worker multi status 2>/dev/null | tail -n +2 | string replace -r ' .*' ''
    else
        __fish_complete_path $current
    end
end

complete -c stem -f -a '(__stem_complete)'
