/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at what is off unless the configuration asks for it: DAMON and soft-dirty bits.
 */
#include "doctor/doctor-private.h"
#include "observe/damon.h"
#include "observe/soft-dirty.h"

#include <string.h>

void hn_doctor_damon(HnExamination *e)
{
    const HnDoctorInput *input = e->input;
    if (!input->is_damon_wanted) {
        hn_doctor_add(e, "damon", "ok", NULL, NULL, "not used (observe.damon is 'no')");
        return;
    }
    /* What was refused in earnest says more than what can be seen without trying. */
    const char *code = input->damon_impediment ? input->damon_impediment
                                               : hn_damon_check(input->root, input->is_damon_on);
    if (code && strcmp(code, HN_DAMON_CAPTURED) != 0)
        hn_doctor_add(e, "damon", "note",
                      "of guests that give no touches it is not known what is hot: they move in the order of "
                      "addresses",
                      hn_damon_sentence(code), "DAMON does not watch guests (%s)", code);
    else
        hn_doctor_add(e, "damon", "ok", NULL, NULL, "%s",
                      input->is_damon_on ? "it watches a guest" : "it may be used; no guest needs it now");
}

void hn_doctor_soft_dirty(HnExamination *e)
{
    uint64_t effective = 0;
    bool is_kept = false;
    if (!e->input->is_soft_dirty_wanted || !hn_root_is_live(e->input->root))
        hn_doctor_add(e, "soft-dirty", "ok", NULL, NULL, "not used (%s)",
                      e->input->is_soft_dirty_wanted ? "a captured machine is read" : "observe.soft-dirty is 'no'");
    else if (!hn_soft_dirty_is_kept(e->input->root, &is_kept, NULL) || !is_kept)
        hn_doctor_add(e, "soft-dirty", "note", "'homenode writes' measures nothing",
                      "boot a kernel with CONFIG_MEM_SOFT_DIRTY", "the kernel keeps no soft-dirty bits");
    else if (hn_doctor_effective_capabilities(e, &effective) && !(effective >> 1 & 1))
        hn_doctor_add(e, "soft-dirty", "note", "'homenode writes' fails for guests of another user",
                      "add it to CapabilityBoundingSet= for the time being: homenode(1)",
                      "CAP_DAC_OVERRIDE is missing");
    else
        hn_doctor_add(e, "soft-dirty", "ok", NULL, NULL,
                      "'homenode writes' may be used; it stalls a guest for a moment");
}
