#compdef homenode
# SPDX-License-Identifier: GPL-2.0-or-later
# Zsh completion for homenode(1). Like its sister for bash: verbs and options come from the program's own --help, domains
# from the daemon, so that nothing here has to be kept up to date. Must not change anything nor print errors.

_homenode_verbs()
{
    local -a verbs
    verbs=("${(@f)$(homenode --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\)  *\(.*\)/\1:\2/p')}")
    _describe verb verbs
}

_homenode_options()
{
    local -a options
    options=("${(@fu)$(homenode ${1:+"$1"} --help 2>/dev/null | grep -oE '(^|[[:space:]])--[a-z-]+' | tr -d ' \t')}")
    compadd -- $options
}

# Arguments: what to put before the verb, to ask the daemon that the line is about.
_homenode_domains()
{
    local -a names
    names=("${(@f)$(homenode "$@" list --names 2>/dev/null)}")
    compadd -- ${names:#}
}

_homenode_keys()
{
    local -a keys
    keys=("${(@f)$(homenode "$@" set 2>/dev/null | sed -n '2,$s/^\([^ ]*\) .*/\1/p')}")
    compadd -- ${keys:#}
}

_homenode()
{
    emulate -L zsh
    local verb='' i
    local -a socket
    for ((i = 2; i < CURRENT; i++)); do
        case ${words[i]} in
            (-s|--socket) socket=(--socket "${(Q)words[++i]}") ;;
            (--socket=*) socket=(--socket "${(Q)words[i]#--socket=}") ;;
            (-*) ;;
            (*) [[ -z $verb ]] && verb=${words[i]} ;;
        esac
    done

    case ${words[CURRENT-1]} in
        (-s|--socket|-o|--output|--csv|--svg) _files; return ;;
        (-m|--machine) _files -/; return ;;
        (-c|--connect) return ;;
        (--policies) compadd -- all off numad kernel bind inverse homenode; return ;;
        (--node|--limit|--last|--policy|--timeout|--interval|-n|-l|-t) return 1 ;;
    esac
    if [[ ${words[CURRENT]} == -* ]]; then
        _homenode_options $verb
        return
    fi
    case $verb in
        ('') _homenode_verbs; compadd -- help ;;
        (help) _homenode_verbs ;;
        (status|plan|explain|rebalance|release|pause|resume|enable|advise|disable|history|writes) _homenode_domains $socket ;;
        (replay|simulate|attach|detach) _files ;;
        (set) _homenode_keys $socket ;;
    esac
}

# As an autoloaded function the file is the first call; sourced, it only defines.
[[ ${funcstack[1]} == _homenode ]] && _homenode "$@"
