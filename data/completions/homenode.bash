# SPDX-License-Identifier: GPL-2.0-or-later
# Bash completion for homenode(1). Verbs and options come from its own --help, domains from the daemon,
# so that nothing here has to be kept up to date. Must not change anything nor print errors.

_homenode_verbs()
{
    homenode --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

_homenode_options()
{
    homenode ${1:+"$1"} --help 2>/dev/null | grep -oE '(^|[[:space:]])--[a-z-]+' | tr -d ' \t'
}

# One candidate per line, blanks in names escaped; $1: what is typed so far.
_homenode_domains()
{
    local socket=("${@:2}") name quoted
    while IFS= read -r name; do
        printf -v quoted '%q' "$name"
        [[ $quoted == "$1"* || $name == "$1"* ]] && printf '%s\n' "$quoted"
    done < <(homenode "${socket[@]}" list --names 2>/dev/null)
}

_homenode()
{
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb="" socket=() i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -s|--socket)
                # "=" is a word of its own when it breaks words.
                [[ ${COMP_WORDS[i+1]} == "=" ]] && ((i++))
                ((i++))
                socket=(--socket "${COMP_WORDS[i]}")
                ;;
            -*) ;;
            *) [[ -z $verb ]] && verb=${COMP_WORDS[i]} ;;
        esac
    done

    case $previous in
        -s|--socket|-o|--output|--csv|--svg)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        --policies)
            mapfile -t COMPREPLY < <(compgen -W "all off numad kernel bind inverse homenode" -- "$word")
            return
            ;;
        -m|--machine)
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return
            ;;
        -c|--connect) return ;;
        --node|--limit|--last|--policy|--timeout|--interval|--window|-n|-l|-t|-w) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_homenode_options "$verb")" -- "$word")
        return
    fi
    case $verb in
        "") mapfile -t COMPREPLY < <(compgen -W "$(_homenode_verbs) help" -- "$word") ;;
        help) mapfile -t COMPREPLY < <(compgen -W "$(_homenode_verbs)" -- "$word") ;;
        status|plan|explain|rebalance|release|pause|resume|enable|advise|disable|history|writes)
            mapfile -t COMPREPLY < <(_homenode_domains "$word" "${socket[@]}")
            ;;
        replay|simulate|attach|detach)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            ;;
        set)
            mapfile -t COMPREPLY < <(compgen -W "$(homenode "${socket[@]}" set 2>/dev/null |
                sed -n '2,$s/^\([^ ]*\) .*/\1/p')" -- "$word")
            ;;
    esac
}

complete -F _homenode homenode
