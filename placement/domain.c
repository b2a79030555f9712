/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Domains as values: allocation, growth, release. Plain memory; must not interpret what it holds.
 */
#include <homenode/domain.h>

#include <string.h>

HnDomain *hn_domain_new(uint32_t n_nodes)
{
    HnDomain *domain = g_new0(HnDomain, 1);

    domain->resident_bytes = g_new0(uint64_t, n_nodes);
    domain->immovable_bytes = g_new0(uint64_t, n_nodes);
    domain->dirty_age_ns = UINT64_MAX;
    domain->touches.age_ns = UINT64_MAX;
    domain->heat.age_ns = UINT64_MAX;
    domain->wish.weight = 100;
    return domain;
}

void hn_wish_clear(HnWish *wish)
{
    g_free(wish->group);
    g_free(wish->anti_group);
    g_free(wish->invalid);
    *wish = (HnWish){.mode = HN_MODE_NONE, .weight = 100};
}

void hn_domain_free(HnDomain *domain)
{
    if (!domain)
        return;
    g_free(domain->name);
    hn_wish_clear(&domain->wish);
    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        g_free(domain->vcpus[i].faults.private_pages);
        g_free(domain->vcpus[i].faults.shared_pages);
        g_free(domain->vcpus[i].touches);
    }
    g_free(domain->vcpus);
    g_free(domain->workers);
    g_free(domain->cells);
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        g_free(domain->regions[i].resident_bytes);
        g_free(domain->regions[i].chunks);
    }
    g_free(domain->regions);
    g_free(domain->resident_bytes);
    g_free(domain->immovable_bytes);
    g_free(domain->touches.impediment);
    g_free(domain->heat.impediment);
    g_free(domain->unobservable);
    g_free(domain);
}

HnVcpu *hn_domain_add_vcpu(HnDomain *domain, uint32_t n_nodes)
{
    domain->vcpus = g_renew(HnVcpu, domain->vcpus, domain->n_vcpus + 1);
    HnVcpu *vcpu = &domain->vcpus[domain->n_vcpus++];
    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->guest_cell = -1;
    vcpu->last_cpu = -1;
    vcpu->faults.preferred_node = HN_NODE_NONE;
    vcpu->faults.private_pages = g_new0(uint64_t, n_nodes);
    vcpu->faults.shared_pages = g_new0(uint64_t, n_nodes);
    vcpu->touches = g_new0(uint64_t, n_nodes);
    return vcpu;
}

HnWorker *hn_domain_add_worker(HnDomain *domain)
{
    domain->workers = g_renew(HnWorker, domain->workers, domain->n_workers + 1);
    HnWorker *worker = &domain->workers[domain->n_workers++];
    memset(worker, 0, sizeof(*worker));
    worker->last_cpu = -1;
    return worker;
}

HnRegion *hn_domain_add_region(HnDomain *domain, uint32_t n_nodes)
{
    domain->regions = g_renew(HnRegion, domain->regions, domain->n_regions + 1);
    HnRegion *region = &domain->regions[domain->n_regions++];
    memset(region, 0, sizeof(*region));
    region->guest_cell = -1;
    region->resident_bytes = g_new0(uint64_t, n_nodes);
    return region;
}

HnGuestCell *hn_domain_add_cell(HnDomain *domain)
{
    domain->cells = g_renew(HnGuestCell, domain->cells, domain->n_cells + 1);
    HnGuestCell *cell = &domain->cells[domain->n_cells++];
    memset(cell, 0, sizeof(*cell));
    return cell;
}

const char *hn_mode_name(HnMode mode)
{
    static const char *const names[] = {"none", "off", "advise", "auto"};

    return (unsigned)mode < G_N_ELEMENTS(names) ? names[mode] : "?";
}
