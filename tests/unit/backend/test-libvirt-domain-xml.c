/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live domain XML: recordings of several libvirt versions (tests/fixtures/libvirt/README.md) and
 * single pieces that the recordings do not have.
 */
#include "backend/libvirt-domain-xml.h"

#include "backend/wish.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)

static HnDomainInfo *parse(const char *xml)
{
    HnDomainInfo *info = NULL;
    g_autoptr(GError) error = NULL;
    hn_libvirt_domain_xml_parse(xml, strlen(xml), &info, &error);
    g_assert_no_error(error);
    return info;
}

static HnDomainInfo *parse_recording(const char *version, const char *domain)
{
    g_autofree char *name = g_strdup_printf("%s-%s.xml", version, domain);
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures", "libvirt", name, NULL);
    g_autofree char *xml = NULL;
    g_autoptr(GError) error = NULL;
    g_file_get_contents(path, &xml, NULL, &error);
    g_assert_no_error(error);
    return parse(xml);
}

static void assert_set(const HnCpuset *set, const char *list)
{
    g_autofree char *text = hn_cpuset_format(set);
    g_assert_cmpstr(text, ==, list);
}

static const HnVcpuInfo *vcpu_at(const HnDomainInfo *info, guint index)
{
    g_assert_cmpuint(index, <, info->vcpus->len);
    return &g_array_index(info->vcpus, HnVcpuInfo, index);
}

static const HnMemoryInfo *memory_at(const HnDomainInfo *info, guint index)
{
    g_assert_cmpuint(index, <, info->memory->len);
    return g_ptr_array_index(info->memory, index);
}

/* 4 vCPUs, 2 online, vCPU 1 pinned live; two iothreads; our metadata beside a stranger's. */
static void test_plain(gconstpointer version)
{
    g_autoptr(HnDomainInfo) info = parse_recording(version, "plain");
    g_autoptr(HnHost) host = hn_host_new(1);
    HnWish wish;
    g_assert_cmpstr(info->name, ==, "plain");
    g_assert_cmpstr(info->uuid, ==, "11111111-2222-4333-8444-555555555555");
    g_assert_true(info->is_kvm);
    g_assert_true(g_str_has_prefix(info->machine_type, "pc-q35-"));
    g_assert_cmpuint(info->configured_bytes, ==, 64 * MIB);
    g_assert_cmpuint(info->current_bytes, ==, 64 * MIB);
    g_assert_cmpuint(info->vcpus->len, ==, 2);
    g_assert_cmpuint(vcpu_at(info, 0)->id, ==, 0);
    g_assert_false(vcpu_at(info, 0)->has_pin);
    g_assert_cmpint(vcpu_at(info, 0)->guest_cell, ==, -1);
    g_assert_true(vcpu_at(info, 1)->has_pin);
    assert_set(&vcpu_at(info, 1)->pin, "0");
    g_assert_cmpuint(info->iothreads->len, ==, 2);
    g_assert_cmpuint(g_array_index(info->iothreads, HnIothreadInfo, 1).id, ==, 2);
    g_assert_false(info->has_default_cpuset);
    g_assert_false(info->has_emulator_pin);
    g_assert_cmpint(info->numatune_mode, ==, HN_NUMATUNE_NONE);
    g_assert_cmpuint(info->cells->len, ==, 0);
    g_assert_cmpuint(info->memory->len, ==, 1);
    g_assert_cmpstr(memory_at(info, 0)->object_id, ==, "pc.ram");
    g_assert_cmpuint(memory_at(info, 0)->length_bytes, ==, 64 * MIB);
    g_assert_cmpint(memory_at(info, 0)->guest_cell, ==, -1);
    g_assert_false(info->is_shared_memory);
    g_assert_false(info->has_passthrough);
    g_assert_cmpuint(info->hugepage_bytes, ==, 0);
    g_assert_nonnull(info->placement_xml);
    g_assert_true(hn_wish_parse(info->placement_xml, host, &wish));
    g_assert_cmpint(wish.mode, ==, HN_MODE_AUTO);
    g_assert_cmpuint(wish.weight, ==, 200);
    hn_wish_clear(&wish);
}

/* Two guest cells in shared memfd, a hot-plugged DIMM in cell 1, every kind of pin, a comma in the
 * name. */
static void test_cells(gconstpointer version)
{
    g_autoptr(HnDomainInfo) info = parse_recording(version, "cells");
    g_assert_cmpstr(info->name, ==, "cells, two");
    g_assert_false(info->is_kvm);
    g_assert_true(g_str_has_prefix(info->machine_type, "pc-i440fx-"));
    g_assert_null(info->placement_xml);
    g_assert_cmpuint(info->configured_bytes, ==, 320 * MIB);
    g_assert_cmpuint(info->vcpus->len, ==, 4);
    g_assert_true(vcpu_at(info, 0)->has_pin);
    assert_set(&vcpu_at(info, 0)->pin, "0");
    g_assert_false(vcpu_at(info, 1)->has_pin);
    g_assert_true(vcpu_at(info, 3)->has_pin);
    assert_set(&vcpu_at(info, 3)->pin, "1");
    g_assert_cmpint(vcpu_at(info, 1)->guest_cell, ==, 0);
    g_assert_cmpint(vcpu_at(info, 2)->guest_cell, ==, 1);
    g_assert_true(info->has_default_cpuset);
    assert_set(&info->default_cpuset, "0-1");
    g_assert_true(info->has_emulator_pin);
    assert_set(&info->emulator_pin, "0-1");
    g_assert_cmpuint(info->iothreads->len, ==, 1);
    g_assert_true(g_array_index(info->iothreads, HnIothreadInfo, 0).has_pin);
    g_assert_cmpint(info->numatune_mode, ==, HN_NUMATUNE_RESTRICTIVE);
    assert_set(&info->numatune_nodes, "0");
    g_assert_true(info->is_shared_memory);
    g_assert_cmpuint(info->cells->len, ==, 2);
    g_assert_cmpuint(g_array_index(info->cells, HnGuestCell, 1).memory_bytes, ==, 64 * MIB);
    assert_set(&g_array_index(info->cells, HnGuestCell, 1).vcpus, "2-3");
    g_assert_cmpuint(info->memory->len, ==, 3);
    g_assert_cmpstr(memory_at(info, 0)->object_id, ==, "ram-node0");
    g_assert_cmpuint(memory_at(info, 0)->length_bytes, ==, 128 * MIB);
    g_assert_cmphex(memory_at(info, 0)->gpa_base, ==, UINT64_MAX);
    g_assert_cmpstr(memory_at(info, 1)->object_id, ==, "ram-node1");
    g_assert_cmpint(memory_at(info, 1)->guest_cell, ==, 1);
    g_assert_cmpstr(memory_at(info, 2)->object_id, ==, "memdimm0");
    g_assert_cmpint(memory_at(info, 2)->guest_cell, ==, 1);
    g_assert_cmpuint(memory_at(info, 2)->length_bytes, ==, 128 * MIB);
    g_assert_cmphex(memory_at(info, 2)->gpa_base, ==, 0x100000000);
}

#define DOMAIN(type, body)                                                                         \
    "<domain type='" type "'><name>d</name><uuid>11111111-2222-4333-8444-555555555555</uuid>"      \
    "<memory unit='KiB'>65536</memory><vcpu>2</vcpu>" body "</domain>"

static void test_hotplugged_vcpus(void)
{
    g_autoptr(HnDomainInfo) info = parse(
        "<domain type='kvm'><name>d</name><uuid>11111111-2222-4333-8444-555555555555</uuid>"
        "<memory>1024</memory><vcpu current='2'>4</vcpu><vcpus><vcpu id='0' enabled='yes'/>"
        "<vcpu id='1' enabled='no'/><vcpu id='2' enabled='no'/><vcpu id='3' enabled='yes'/></vcpus>"
        "<cputune><vcpupin vcpu='2' cpuset='5'/><vcpupin vcpu='3' cpuset='7'/></cputune></domain>");
    g_assert_cmpuint(info->vcpus->len, ==, 2);
    g_assert_cmpuint(vcpu_at(info, 1)->id, ==, 3);
    g_assert_true(vcpu_at(info, 1)->has_pin);
    assert_set(&vcpu_at(info, 1)->pin, "7");
}

static void test_backing(void)
{
    static const struct {
        const char *body;
        bool is_shared, is_locked;
        uint64_t hugepage_bytes;
    } cases[] = {
        {"", false, false, 0},
        {"<hugepages/>", false, false, HN_HUGEPAGE_HOST_DEFAULT},
        {"<hugepages><page size='1048576' unit='KiB'/></hugepages>", false, false, 1024 * MIB},
        {"<hugepages><page size='2' unit='M' nodeset='0'/></hugepages><locked/>", false, true,
         2 * MIB},
        {"<source type='memfd'/>", true, false, 0},
        {"<source type='memfd'/><access mode='private'/>", false, false, 0},
        {"<source type='file'/>", false, false, 0},
        {"<source type='file'/><access mode='shared'/>", true, false, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *xml =
            g_strdup_printf(DOMAIN("kvm", "<memoryBacking>%s</memoryBacking>"), cases[i].body);
        g_autoptr(HnDomainInfo) info = parse(xml);
        g_test_message("%s", cases[i].body);
        g_assert_cmpint(info->is_shared_memory, ==, cases[i].is_shared);
        g_assert_cmpint(info->is_locked, ==, cases[i].is_locked);
        g_assert_cmpuint(info->hugepage_bytes, ==, cases[i].hugepage_bytes);
    }
}

static void test_passthrough(void)
{
    static const char address[] =
        "<source><address domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></source>";
    static const struct {
        const char *open, *close;
        bool has_passthrough, has_pci;
    } cases[] = {
        {"<hostdev mode='subsystem' type='pci'>", "</hostdev>", true, true},
        {"<interface type='hostdev'>", "</interface>", true, true},
        {"<disk type='nvme'>", "</disk>", true, true},
        {"<hostdev mode='subsystem' type='mdev'>", "</hostdev>", true, false},
        {"<interface type='vdpa'>", "</interface>", true, false},
        {"<hostdev mode='subsystem' type='usb'>", "</hostdev>", false, false},
        {"<interface type='bridge'>", "</interface>", false, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *xml = g_strdup_printf(DOMAIN("kvm", "<devices>%s%s%s</devices>"),
                                               cases[i].open, address, cases[i].close);
        g_autoptr(HnDomainInfo) info = parse(xml);
        g_test_message("%s", cases[i].open);
        g_assert_cmpint(info->has_passthrough, ==, cases[i].has_passthrough);
        g_assert_cmpuint(info->host_devices->len, ==, cases[i].has_pci);
        if (cases[i].has_pci)
            g_assert_cmpstr(g_ptr_array_index(info->host_devices, 0), ==, "0000:3b:02.1");
    }
}

static void test_memory_devices(void)
{
    g_autoptr(HnDomainInfo) info = parse(
        "<domain type='kvm'><name>d</name><uuid>11111111-2222-4333-8444-555555555555</uuid>"
        "<memory>196608</memory><currentMemory>98304</currentMemory><os><type "
        "machine='virt-9.0'/></os><devices>"
        "<memory model='dimm'><target><size>65536</size></target><alias name='dimm0'/></memory>"
        "<memory "
        "model='virtio-mem'><target><size>65536</size><node>0</node><requested>0</requested>"
        "<address base='0x180000000'/></target><alias name='virtiomem0'/><address "
        "type='pci'/></memory>"
        "<memory "
        "model='nvdimm'><source><path>/x</path></source><target><size>65536</size></target></"
        "memory>"
        "</devices></domain>");
    g_assert_cmpuint(info->configured_bytes, ==, 192 * MIB);
    g_assert_cmpuint(info->current_bytes, ==, 96 * MIB);
    g_assert_cmpuint(info->memory->len, ==, 3); /* boot memory first, no NVDIMM */
    g_assert_cmpstr(memory_at(info, 0)->object_id, ==, "mach-virt.ram");
    g_assert_cmpuint(memory_at(info, 0)->length_bytes, ==, 64 * MIB);
    g_assert_cmpstr(memory_at(info, 1)->object_id, ==, "memdimm0");
    g_assert_cmphex(memory_at(info, 1)->gpa_base, ==, UINT64_MAX);
    g_assert_cmpstr(memory_at(info, 2)->object_id, ==, "memvirtiomem0");
    g_assert_true(memory_at(info, 2)->is_virtio_mem);
    g_assert_cmphex(memory_at(info, 2)->gpa_base, ==, 0x180000000);
}

static void test_numatune(void)
{
    static const struct {
        const char *body;
        HnNumatuneMode mode;
        const char *nodes;
    } cases[] = {
        {"<memory mode='strict' nodeset='0-1'/>", HN_NUMATUNE_STRICT, "0-1"},
        {"<memory nodeset='2'/>", HN_NUMATUNE_STRICT, "2"},
        {"<memory mode='preferred' nodeset='1'/>", HN_NUMATUNE_PREFERRED, "1"},
        {"<memory mode='interleave' nodeset='0,3'/>", HN_NUMATUNE_INTERLEAVE, "0,3"},
        {"<memory mode='strict' placement='auto'/>", HN_NUMATUNE_STRICT, ""},
        {"<memnode cellid='0' mode='preferred' nodeset='1'/><memnode cellid='1' mode='preferred' "
         "nodeset='3'/>",
         HN_NUMATUNE_PREFERRED, "1,3"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *xml =
            g_strdup_printf(DOMAIN("kvm", "<numatune>%s</numatune>"), cases[i].body);
        g_autoptr(HnDomainInfo) info = parse(xml);
        g_test_message("%s", cases[i].body);
        g_assert_cmpint(info->numatune_mode, ==, cases[i].mode);
        assert_set(&info->numatune_nodes, cases[i].nodes);
    }
}

static void test_features(void)
{
    g_autoptr(HnDomainInfo) ring = parse(
        DOMAIN("kvm", "<features><kvm><dirty-ring state='on' size='4096'/></kvm></features>"));
    g_autoptr(HnDomainInfo) off = parse(DOMAIN(
        "kvm",
        "<features><kvm><dirty-ring state='off'/></kvm></features><launchSecurity type='sev'/>"));
    g_assert_true(ring->has_dirty_ring);
    g_assert_false(ring->has_launch_security);
    g_assert_false(off->has_dirty_ring);
    g_assert_true(off->has_launch_security);
}

/* The element may use any prefix, or none, declared anywhere; text elsewhere must not be mistaken
 * for it. */
static void test_metadata(void)
{
    static const struct {
        const char *metadata;
        bool is_found;
    } cases[] = {
        {"<metadata><p:placement xmlns:p='urn:homenode:placement:1' mode='auto'/></metadata>",
         true},
        {"<metadata xmlns:p='urn:homenode:placement:1'><p:placement mode='auto'/></metadata>",
         true},
        {"<metadata><placement xmlns='urn:homenode:placement:1' mode='auto'/></metadata>", true},
        {"<metadata><placement mode='auto'/></metadata>", false},
        {"<metadata><s:stats xmlns:s='urn:homenode:stats:1'/></metadata>", false},
        {"<description>&lt;placement mode='auto'/&gt;</description>", false},
    };
    g_autoptr(HnHost) host = hn_host_new(1);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *xml = g_strdup_printf(DOMAIN("kvm", "%s"), cases[i].metadata);
        g_autoptr(HnDomainInfo) info = parse(xml);
        HnWish wish;
        g_test_message("%s", cases[i].metadata);
        g_assert_cmpint(info->placement_xml != NULL, ==, cases[i].is_found);
        g_assert_true(hn_wish_parse(info->placement_xml, host, &wish));
        g_assert_cmpint(wish.mode, ==, cases[i].is_found ? HN_MODE_AUTO : HN_MODE_NONE);
        hn_wish_clear(&wish);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *xml, *piece;
    } cases[] = {
        {"", "not well-formed"},
        {"<domain", "not well-formed"},
        {"<!DOCTYPE domain [<!ENTITY a 'b'>]><domain/>", "not well-formed"},
        {"<network/>", "<domain> is expected"},
        {"<domain><name>d</name></domain>", "both are needed"},
        {"<domain><name>d</name><uuid>no</uuid></domain>", "both are needed"},
        {"<domain><name>d</name><uuid>11111111-2222-4333-8444-555555555555</uuid></domain>",
         "<memory> is missing"},
        {DOMAIN("kvm", "<cputune><vcpupin vcpu='0' cpuset='x'/></cputune>"), "<vcpupin cpuset>"},
        {DOMAIN("kvm", "<cputune><vcpupin vcpu='-1' cpuset='0'/></cputune>"), "<vcpupin vcpu>"},
        {DOMAIN("kvm", "<numatune><memory mode='loose'/></numatune>"), "'loose'"},
        {DOMAIN("kvm", "<cpu><numa><cell id='0' memory='1' unit='Zi'/></numa></cpu>"), "unit 'Zi'"},
        {DOMAIN("kvm", "<currentMemory>99999999999999999999</currentMemory>"), "currentMemory"},
        {DOMAIN("kvm", "<iothreads>1000000</iothreads>"), "<iothreads>"},
        {"<domain><name>d</name><uuid>11111111-2222-4333-8444-555555555555</uuid><memory>1</memory>"
         "<vcpu>100000000</vcpu></domain>",
         "<vcpu>"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnDomainInfo *info = NULL;
        g_autoptr(GError) error = NULL;
        g_assert_false(
            hn_libvirt_domain_xml_parse(cases[i].xml, strlen(cases[i].xml), &info, &error));
        g_assert_nonnull(error);
        g_assert_true(error->domain == HN_MODEL_ERROR);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, cases[i].piece));
        g_assert_null(info);
    }
}

/* Every prefix of a recording is either refused or understood, never a crash. */
static void test_truncated(void)
{
    g_autofree char *path =
        g_test_build_filename(G_TEST_DIST, "fixtures", "libvirt", "11.3.0-cells.xml", NULL);
    g_autofree char *xml = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &xml, &len, NULL));
    for (gsize cut = 0; cut + strlen("</domain>\n") < len; cut++) {
        HnDomainInfo *info = NULL;
        g_assert_false(hn_libvirt_domain_xml_parse(xml, cut, &info, NULL));
    }
}

int main(int argc, char **argv)
{
    static const char *const versions[] = {"9.0.0", "11.3.0", "12.8.0"};
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_autofree char *plain = g_strdup_printf("/domain-xml/recorded/%s/plain", versions[i]);
        g_autofree char *cells = g_strdup_printf("/domain-xml/recorded/%s/cells", versions[i]);
        g_test_add_data_func(plain, versions[i], test_plain);
        g_test_add_data_func(cells, versions[i], test_cells);
    }
    g_test_add_func("/domain-xml/hotplugged-vcpus", test_hotplugged_vcpus);
    g_test_add_func("/domain-xml/backing", test_backing);
    g_test_add_func("/domain-xml/passthrough", test_passthrough);
    g_test_add_func("/domain-xml/memory-devices", test_memory_devices);
    g_test_add_func("/domain-xml/numatune", test_numatune);
    g_test_add_func("/domain-xml/features", test_features);
    g_test_add_func("/domain-xml/metadata", test_metadata);
    g_test_add_func("/domain-xml/refused", test_refused);
    g_test_add_func("/domain-xml/truncated", test_truncated);
    return g_test_run();
}
