/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at what is off unless the configuration asks for it: DAMON.
 */
#include "doctor/doctor-private.h"
#include "observe/damon.h"

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
