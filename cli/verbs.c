/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of verbs: what exists, and which need the read-write socket. Nothing else.
 */
#include "cli.h"

const HnVerb hn_verbs[] = {
    {"list", "", "Domains with home, locality and state, one line each", NULL, false, hn_verb_list},
    {"status", "[DOMAIN…]", "The host and its domains, or everything about single domains", NULL,
     false, hn_verb_status},
    {"top", "", "Nodes and domains, live",
     "Keys: n h l a c m o b s sort by name, home, local, accesses, CPU, memory, moves, rate, status;\n"
     "r reverses; u leaves out domains that have not opted in; space refreshes; arrows scroll;\n"
     "? explains keys and columns; q quits.",
     false, hn_verb_top},
    {"host", "", "NUMA nodes: CPUs, memory, load, distances", NULL, false, hn_verb_host},
    {"plan", "[DOMAIN…]", "What would be done now, and what it would cost; changes nothing",
     "With domains or --node: what `rebalance` with the same arguments would do.", false,
     hn_verb_plan},
    {"explain", "DOMAIN", "Why a domain is where it is, and what would change that", NULL, false,
     hn_verb_explain},
    {"rebalance", "[DOMAIN…]", "Re-home domains now, or all of them",
     "Skips the thresholds that keep the daemon from moving often, never safety or the "
     "administrator's\n"
     "constraints.",
     true, hn_verb_rebalance},
    {"release", "DOMAIN…", "Give back the pins and nodeset a domain had before homenode",
     "It is left alone until `rebalance`, `enable` or `resume`.", true, hn_verb_release},
    {"pause", "[DOMAIN…]", "Stop acting on domains, or on all; keep watching", NULL, true,
     hn_verb_pause},
    {"resume", "[DOMAIN…]", "Act again after pause or release", NULL, true, hn_verb_pause},
    {"enable", "DOMAIN…", "Opt in: homenode places the domain (mode='auto')", NULL, true,
     hn_verb_mode},
    {"advise", "DOMAIN…", "Opt in to plans and reports only (mode='advise')", NULL, true,
     hn_verb_mode},
    {"disable", "DOMAIN…", "Opt out (mode='off'); what was changed is given back", NULL, true,
     hn_verb_mode},
    {"attach", "SOCKET", "Manage the QEMU behind a QMP socket, without libvirt",
     "It opts in by the file SOCKET.homenode. Remembered until detach.", true, hn_verb_attach},
    {"detach", "SOCKET", "Let go of the QEMU behind a QMP socket; release it first", NULL, true,
     hn_verb_attach},
    {"history", "[DOMAIN]", "What was decided and done, newest first", NULL, false,
     hn_verb_history},
    {"doctor", "", "Check kernel, libvirt, QEMU and other balancers; say what to mend", NULL, false,
     hn_verb_doctor},
    {"writes", "DOMAIN", "What of a guest's RAM is written in a window; stalls it for a moment",
     "By the kernel's soft-dirty bits. Needs observe.soft-dirty = yes.", true, hn_verb_writes},
    {"snapshot", "", "What a round saw, as text for bug reports and replay; no guest content", NULL,
     false, hn_verb_snapshot},
    {"replay", "FILE", "Decide recorded rounds again; show where decisions differ",
     "FILE is what `snapshot` wrote. Needs no daemon. Keys of --policy are those of a round's "
     "member "
     "\"policy\".\n"
     "Exit status: 0 all the same, 1 a decision differs, 2 the file cannot be used.",
     false, hn_verb_replay},
    {"simulate", "SCENARIO", "A host in virtual time under several policies; model results",
     "Needs no daemon. Policies: off, numad, kernel, bind, inverse, homenode.", false,
     hn_verb_simulate},
    {"report", "", "One HTML page: locality, moves and load over time, and the decisions", NULL,
     false, hn_verb_report},
    {"metrics", "", "OpenMetrics text", NULL, false, hn_verb_metrics},
    {"set", "[KEY [VALUE]]", "Show the configuration, or change it until the daemon restarts", NULL,
     true, hn_verb_set},
    {NULL},
};
