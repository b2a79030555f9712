/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads libvirt's live domain XML, https://libvirt.org/formatdomain.html, as 7.x to 12.x print it.
 *
 * The document is made into a tree by libxml2 and walked by element, one function per top-level
 * element that matters, in the order of their dependencies (vCPUs before their pins and cells).
 * Live XML is normalised by libvirt (KiB, no "^" in CPU sets), but units are honoured all the same,
 * because configuration written by hand goes through the same parser in tests.
 *
 * Must not judge: a pin to all CPUs is a pin. Must not open anything.
 */
#include "libvirt-domain-xml.h"

#include "shorten.h"
#include "wish.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#define MAX_XML_BYTES (8 * 1024 * 1024) /* libvirt's own limit on strings over RPC is 4 MiB */
#define MAX_VCPUS 8192
#define MAX_IOTHREADS 4096

static bool is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

/* The first child element called `name`, NULL if there is none or parent is NULL. */
static const xmlNode *child_of(const xmlNode *parent, const char *name)
{
    for (const xmlNode *node = parent ? parent->children : NULL; node; node = node->next)
        if (is_element(node, name))
            return node;
    return NULL;
}

/* Caller frees; NULL if absent. */
static char *attribute_of(const xmlNode *node, const char *name)
{
    xmlChar *value = node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;
    char *copy = value ? g_strdup((const char *)value) : NULL;
    xmlFree(value);
    return copy;
}

/* Caller frees; NULL if node is NULL. White space around is removed. */
static char *text_of(const xmlNode *node)
{
    xmlChar *value = node ? xmlNodeGetContent(node) : NULL;
    char *copy = value ? g_strstrip(g_strdup((const char *)value)) : NULL;
    xmlFree(value);
    return copy;
}

static bool attribute_is(const xmlNode *node, const char *name, const char *wanted)
{
    g_autofree char *value = attribute_of(node, name);
    return value && strcmp(value, wanted) == 0;
}

static bool parse_number(const char *text, const char *what, unsigned base, uint64_t max,
                         uint64_t *ret_number, GError **error)
{
    guint64 number;
    const char *digits = text && base == 16 && g_str_has_prefix(text, "0x") ? text + 2 : text;
    if (!digits || !g_ascii_string_to_unsigned(digits, base, 0, max, &number, NULL)) {
        g_autofree char *shown = hn_shorten(text);
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "domain XML: %s is '%s': a number up to %" G_GUINT64_FORMAT " is expected",
                    what, shown, max);
        return false;
    }
    *ret_number = number;
    return true;
}

static bool attribute_number(const xmlNode *node, const char *name, uint64_t max,
                             uint32_t *ret_number, GError **error)
{
    g_autofree char *text = attribute_of(node, name);
    g_autofree char *what = g_strdup_printf("<%s %s>", (const char *)node->name, name);
    uint64_t number;
    if (!parse_number(text, what, 10, max, &number, error))
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

static bool attribute_cpuset(const xmlNode *node, const char *name, HnCpuset *ret_set,
                             GError **error)
{
    g_autofree char *text = attribute_of(node, name);
    if (hn_cpuset_parse(text ? text : "", text ? strlen(text) : 0, ret_set, error))
        return true;
    g_prefix_error(error, "domain XML: <%s %s>: ", (const char *)node->name, name);
    return false;
}

/* A quantity with libvirt's unit (formatdomain, "memory unit"): KiB when there is none. */
static bool parse_size(const char *text, const char *unit, const char *what, uint64_t *ret_bytes,
                       GError **error)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"KiB", UINT64_C(1) << 10},
        {"k", UINT64_C(1) << 10},
        {"b", 1},
        {"bytes", 1},
        {"KB", 1000},
        {"MB", 1000000},
        {"M", UINT64_C(1) << 20},
        {"MiB", UINT64_C(1) << 20},
        {"GB", 1000000000},
        {"G", UINT64_C(1) << 30},
        {"GiB", UINT64_C(1) << 30},
        {"TB", 1000000000000},
        {"T", UINT64_C(1) << 40},
        {"TiB", UINT64_C(1) << 40},
    };
    uint64_t unit_bytes = unit ? 0 : 1024;
    for (size_t i = 0; i < G_N_ELEMENTS(units) && unit_bytes == 0; i++)
        if (strcmp(unit, units[i].name) == 0)
            unit_bytes = units[i].bytes;
    if (unit_bytes == 0) {
        g_autofree char *shown = hn_shorten(unit);
        g_set_error(
            error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
            "domain XML: %s has unit '%s': b, KiB, MiB, GiB, TiB or KB, MB, GB, TB is expected",
            what, shown);
        return false;
    }
    uint64_t number;
    if (!parse_number(text, what, 10, UINT64_MAX / 2 / unit_bytes, &number, error))
        return false;
    *ret_bytes = number * unit_bytes;
    return true;
}

/* Size as an element's text: <memory unit='KiB'>65536</memory>. */
static bool element_size(const xmlNode *node, uint64_t *ret_bytes, GError **error)
{
    g_autofree char *text = text_of(node);
    g_autofree char *unit = attribute_of(node, "unit");
    return parse_size(text, unit, (const char *)node->name, ret_bytes, error);
}

static bool parse_identity(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    g_autofree char *uuid = text_of(child_of(domain, "uuid"));
    info->name = text_of(child_of(domain, "name"));
    if (!info->name || !*info->name || !uuid || !g_uuid_string_is_valid(uuid)) {
        g_autofree char *shown_name = hn_shorten(info->name), *shown_uuid = hn_shorten(uuid);
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "domain XML: name '%s', uuid '%s': both are needed", shown_name, shown_uuid);
        return false;
    }
    g_strlcpy(info->uuid, uuid, sizeof info->uuid);
    info->is_kvm = attribute_is(domain, "type", "kvm");
    info->machine_type = attribute_of(child_of(child_of(domain, "os"), "type"), "machine");
    info->has_launch_security = child_of(domain, "launchSecurity") != NULL;
    const xmlNode *kvm = child_of(child_of(domain, "features"), "kvm");
    info->has_dirty_ring = attribute_is(child_of(kvm, "dirty-ring"), "state", "on");
    return true;
}

/* The element of our namespace with its namespace declared on it, whatever the document did: the
 * copy takes along what it needs. */
static void parse_metadata(const xmlNode *domain, HnDomainInfo *info)
{
    const xmlNode *metadata = child_of(domain, "metadata");
    for (xmlNode *node = metadata ? metadata->children : NULL; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || !node->ns ||
            strcmp((const char *)node->ns->href, HN_PLACEMENT_URI) != 0)
            continue;
        xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");
        xmlNode *copy = xmlDocCopyNode(node, doc, 1);
        xmlDocSetRootElement(doc, copy);
        xmlBuffer *buffer = xmlBufferCreate();
        xmlNodeDump(buffer, doc, copy, 0, 0);
        info->placement_xml = g_strdup((const char *)xmlBufferContent(buffer));
        xmlBufferFree(buffer);
        xmlFreeDoc(doc);
        return;
    }
}

/* <vcpu current='2' cpuset='0-3'>4</vcpu> and, if single vCPUs differ, <vcpus><vcpu id= enabled=/>.
 */
static bool parse_vcpus(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *vcpu = child_of(domain, "vcpu");
    const xmlNode *list = child_of(domain, "vcpus");
    uint64_t maximum = 1;
    uint32_t online = 1;
    if (vcpu) {
        g_autofree char *text = text_of(vcpu);
        g_autofree char *current = attribute_of(vcpu, "current");
        g_autofree char *cpuset = attribute_of(vcpu, "cpuset");
        if (!parse_number(text, "<vcpu>", 10, MAX_VCPUS, &maximum, error))
            return false;
        online = (uint32_t)maximum;
        if (current && !attribute_number(vcpu, "current", maximum, &online, error))
            return false;
        info->has_default_cpuset = cpuset != NULL;
        if (cpuset && !attribute_cpuset(vcpu, "cpuset", &info->default_cpuset, error))
            return false;
    }
    if (!list) {
        for (uint32_t id = 0; id < online; id++)
            g_array_append_vals(info->vcpus, &(HnVcpuInfo){.id = id, .guest_cell = -1}, 1);
        return true;
    }
    for (const xmlNode *node = list->children; node; node = node->next) {
        HnVcpuInfo entry = {.guest_cell = -1};
        if (!is_element(node, "vcpu") || !attribute_is(node, "enabled", "yes"))
            continue;
        if (!attribute_number(node, "id", maximum, &entry.id, error))
            return false;
        g_array_append_vals(info->vcpus, &entry, 1);
    }
    return true;
}

static HnVcpuInfo *find_vcpu(const HnDomainInfo *info, uint32_t id)
{
    for (guint i = 0; i < info->vcpus->len; i++) {
        HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);
        if (vcpu->id == id)
            return vcpu;
    }
    return NULL;
}

static HnIothreadInfo *find_iothread(const HnDomainInfo *info, uint32_t id)
{
    for (guint i = 0; i < info->iothreads->len; i++) {
        HnIothreadInfo *iothread = &g_array_index(info->iothreads, HnIothreadInfo, i);
        if (iothread->id == id)
            return iothread;
    }
    return NULL;
}

/* <iothreadids><iothread id=/> names them; without it <iothreads>N</iothreads> are 1..N. */
static bool parse_iothreads(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *count_node = child_of(domain, "iothreads");
    const xmlNode *ids = child_of(domain, "iothreadids");
    if (ids) {
        for (const xmlNode *node = ids->children; node; node = node->next) {
            HnIothreadInfo entry = {0};
            if (!is_element(node, "iothread"))
                continue;
            if (!attribute_number(node, "id", UINT32_MAX, &entry.id, error))
                return false;
            g_array_append_vals(info->iothreads, &entry, 1);
        }
    }
    if (count_node && info->iothreads->len == 0) {
        g_autofree char *text = text_of(count_node);
        uint64_t count;
        if (!parse_number(text, "<iothreads>", 10, MAX_IOTHREADS, &count, error))
            return false;
        for (uint32_t id = 1; id <= count; id++)
            g_array_append_vals(info->iothreads, &(HnIothreadInfo){.id = id}, 1);
    }
    return true;
}

static bool parse_cputune(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *cputune = child_of(domain, "cputune");
    for (const xmlNode *node = cputune ? cputune->children : NULL; node; node = node->next) {
        uint32_t id;
        if (is_element(node, "vcpupin")) {
            if (!attribute_number(node, "vcpu", MAX_VCPUS, &id, error))
                return false;
            HnVcpuInfo *vcpu = find_vcpu(info, id);
            if (vcpu && !attribute_cpuset(node, "cpuset", &vcpu->pin, error))
                return false;
            if (vcpu)
                vcpu->has_pin = true;
        } else if (is_element(node, "iothreadpin")) {
            if (!attribute_number(node, "iothread", UINT32_MAX, &id, error))
                return false;
            HnIothreadInfo *iothread = find_iothread(info, id);
            if (iothread && !attribute_cpuset(node, "cpuset", &iothread->pin, error))
                return false;
            if (iothread)
                iothread->has_pin = true;
        } else if (is_element(node, "emulatorpin")) {
            if (!attribute_cpuset(node, "cpuset", &info->emulator_pin, error))
                return false;
            info->has_emulator_pin = true;
        }
    }
    return true;
}

static bool parse_numatune_mode(const xmlNode *node, HnNumatuneMode *ret_mode, GError **error)
{
    static const struct {
        const char *name;
        HnNumatuneMode mode;
    } modes[] = {{"strict", HN_NUMATUNE_STRICT},
                 {"preferred", HN_NUMATUNE_PREFERRED},
                 {"interleave", HN_NUMATUNE_INTERLEAVE},
                 {"restrictive", HN_NUMATUNE_RESTRICTIVE}};
    g_autofree char *name = attribute_of(node, "mode");
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!name || strcmp(name, modes[i].name) == 0) { /* strict is libvirt's default */
            *ret_mode = modes[i].mode;
            return true;
        }
    }
    g_autofree char *shown = hn_shorten(name);
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                "domain XML: <numatune> mode '%s': strict, preferred, interleave or restrictive is "
                "expected",
                shown);
    return false;
}

/* <memory mode= nodeset=/>, else the union of the cells' <memnode>: either way the nodes its memory
 * is bound to. placement='auto' has no nodeset in the XML: mode is set, nodes are empty (backend-libvirt.c asks). */
static bool parse_numatune(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *numatune = child_of(domain, "numatune");
    const xmlNode *memory = child_of(numatune, "memory");
    if (memory) {
        g_autofree char *nodeset = attribute_of(memory, "nodeset");
        if (!parse_numatune_mode(memory, &info->numatune_mode, error))
            return false;
        if (nodeset)
            return attribute_cpuset(memory, "nodeset", &info->numatune_nodes, error);
    }
    bool is_from_cells = !memory;
    for (const xmlNode *node = numatune ? numatune->children : NULL; node; node = node->next) {
        HnCpuset nodes;
        if (!is_element(node, "memnode"))
            continue;
        if (is_from_cells && !parse_numatune_mode(node, &info->numatune_mode, error))
            return false;
        if (!attribute_cpuset(node, "nodeset", &nodes, error))
            return false;
        hn_cpuset_or(&info->numatune_nodes, &nodes);
    }
    return true;
}

static void add_memory(HnDomainInfo *info, char *object_id, int32_t cell, uint64_t length_bytes,
                       uint64_t gpa_base, bool is_virtio_mem)
{
    HnMemoryInfo *memory = g_new(HnMemoryInfo, 1);
    *memory = (HnMemoryInfo){.object_id = object_id,
                             .guest_cell = cell,
                             .length_bytes = length_bytes,
                             .gpa_base = gpa_base,
                             .is_virtio_mem = is_virtio_mem};
    g_ptr_array_add(info->memory, memory);
}

/* <cpu><numa><cell id= cpus= memory= unit=/>: guest cells, each with its own RAM object. */
static bool parse_cells(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *numa = child_of(child_of(domain, "cpu"), "numa");
    uint32_t next_id = 0;
    for (const xmlNode *node = numa ? numa->children : NULL; node; node = node->next) {
        HnGuestCell cell = {0};
        if (!is_element(node, "cell"))
            continue;
        g_autofree char *id = attribute_of(node, "id");
        g_autofree char *size = attribute_of(node, "memory");
        g_autofree char *unit = attribute_of(node, "unit");
        g_autofree char *cpus = attribute_of(node, "cpus");
        cell.id = next_id;
        if (id && !attribute_number(node, "id", MAX_VCPUS, &cell.id, error))
            return false;
        if (!parse_size(size, unit, "<cell memory>", &cell.memory_bytes, error))
            return false;
        if (cpus && !attribute_cpuset(node, "cpus", &cell.vcpus, error))
            return false;
        if (attribute_is(node, "memAccess", "shared"))
            info->is_shared_memory = true;
        for (guint i = 0; i < info->vcpus->len; i++) {
            HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);
            if (hn_cpuset_has(&cell.vcpus, vcpu->id))
                vcpu->guest_cell = (int32_t)cell.id;
        }
        g_array_append_val(info->cells, cell);
        add_memory(info, g_strdup_printf("ram-node%u", cell.id), (int32_t)cell.id,
                   cell.memory_bytes, UINT64_MAX, false);
        next_id = cell.id + 1;
    }
    return true;
}

/* QEMU's default_ram_id of the machine: libvirt names the single RAM object after it. */
static const char *default_ram_id(const char *machine_type)
{
    static const struct {
        const char *prefix, *ram_id;
    } machines[] = {{"virt", "mach-virt.ram"},
                    {"pseries", "ppc_spapr.ram"},
                    {"s390-ccw", "s390.ram"},
                    {"microvm", "microvm.ram"}};
    for (size_t i = 0; machine_type && i < G_N_ELEMENTS(machines); i++)
        if (g_str_has_prefix(machine_type, machines[i].prefix))
            return machines[i].ram_id;
    return "pc.ram";
}

/* <devices><memory model='dimm|virtio-mem'>. nvdimm, virtio-pmem and sgx-epc are files or enclaves,
 * not RAM that could be moved: left out. */
static bool parse_memory_device(const xmlNode *node, HnDomainInfo *info, GError **error)
{
    bool is_virtio_mem = attribute_is(node, "model", "virtio-mem");
    const xmlNode *target = child_of(node, "target");
    const xmlNode *size = child_of(target, "size");
    if ((!is_virtio_mem && !attribute_is(node, "model", "dimm")) || !size)
        return true;

    g_autofree char *alias = attribute_of(child_of(node, "alias"), "name");
    g_autofree char *cell = text_of(child_of(target, "node"));
    const xmlNode *address = child_of(is_virtio_mem ? target : node, "address");
    g_autofree char *base = attribute_of(address, "base");
    uint64_t bytes, cell_id = 0, gpa_base = UINT64_MAX;
    if (!element_size(size, &bytes, error))
        return false;
    if (cell && !parse_number(cell, "<memory><target><node>", 10, MAX_VCPUS, &cell_id, error))
        return false;
    if (base && !parse_number(base, "<memory><address base>", 16, UINT64_MAX, &gpa_base, error))
        return false;
    add_memory(info, g_strdup_printf("mem%s", alias ? alias : ""), cell ? (int32_t)cell_id : -1,
               bytes, gpa_base, is_virtio_mem);
    return true;
}

/* Sum of the hot-pluggable devices' sizes, which <memory> includes. */
static uint64_t device_memory_bytes(const HnDomainInfo *info)
{
    uint64_t bytes = 0;
    for (guint i = 0; i < info->memory->len; i++)
        bytes += ((const HnMemoryInfo *)g_ptr_array_index(info->memory, i))->length_bytes;
    return bytes;
}

static bool parse_memory(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *memory = child_of(domain, "memory");
    const xmlNode *current = child_of(domain, "currentMemory");
    const xmlNode *devices = child_of(domain, "devices");
    if (!memory) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE, "domain XML: <memory> is missing");
        return false;
    }
    if (!element_size(memory, &info->configured_bytes, error))
        return false;
    info->current_bytes = info->configured_bytes;
    if (current && !element_size(current, &info->current_bytes, error))
        return false;
    if (!parse_cells(domain, info, error))
        return false;
    for (const xmlNode *node = devices ? devices->children : NULL; node; node = node->next)
        if (is_element(node, "memory") && !parse_memory_device(node, info, error))
            return false;
    if (info->cells->len == 0) {
        uint64_t plugged_bytes = device_memory_bytes(info);
        if (plugged_bytes > info->configured_bytes)
            plugged_bytes = 0;
        add_memory(info, g_strdup(default_ram_id(info->machine_type)), -1,
                   info->configured_bytes - plugged_bytes, UINT64_MAX, false);
        /* Boot memory is created first. */
        gpointer boot = g_ptr_array_steal_index(info->memory, info->memory->len - 1);
        g_ptr_array_insert(info->memory, 0, boot);
    }
    return true;
}

/* <memoryBacking>: how RAM is mapped on the host. */
static bool parse_backing(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *backing = child_of(domain, "memoryBacking");
    const xmlNode *hugepages = child_of(backing, "hugepages");
    const xmlNode *page = child_of(hugepages, "page");
    const xmlNode *access = child_of(backing, "access");
    bool is_memfd = attribute_is(child_of(backing, "source"), "type", "memfd");
    info->is_locked = child_of(backing, "locked") != NULL;
    if (attribute_is(access, "mode", "shared") ||
        (is_memfd && !attribute_is(access, "mode", "private"))) /* QEMU's default for memfd */
        info->is_shared_memory = true;
    if (!hugepages)
        return true;
    info->hugepage_bytes = HN_HUGEPAGE_HOST_DEFAULT;
    if (!page)
        return true;
    g_autofree char *size = attribute_of(page, "size");
    g_autofree char *unit = attribute_of(page, "unit");
    return parse_size(size, unit, "<hugepages><page size>", &info->hugepage_bytes, error);
}

/* "0000:3b:00.0" out of <address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/>. */
static bool parse_pci_address(const xmlNode *address, HnDomainInfo *info, GError **error)
{
    static const char *const names[] = {"domain", "bus", "slot", "function"};
    static const uint64_t maxima[] = {0xffffffff, 0xff, 0x1f, 7};
    uint64_t parts[4] = {0};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *text = attribute_of(address, names[i]);
        if (text && !parse_number(text, "<source><address>", 16, maxima[i], &parts[i], error))
            return false;
    }
    g_ptr_array_add(info->host_devices,
                    g_strdup_printf("%04x:%02x:%02x.%x", (unsigned)parts[0], (unsigned)parts[1],
                                    (unsigned)parts[2], (unsigned)parts[3]));
    return true;
}

/* Devices through which hardware reaches guest RAM directly: it is pinned while they are there. */
static bool parse_passthrough(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    const xmlNode *devices = child_of(domain, "devices");
    for (const xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
        bool is_pci = (is_element(node, "hostdev") && attribute_is(node, "type", "pci")) ||
                      (is_element(node, "interface") && attribute_is(node, "type", "hostdev")) ||
                      (is_element(node, "disk") && attribute_is(node, "type", "nvme"));
        bool is_other = (is_element(node, "hostdev") && attribute_is(node, "type", "mdev")) ||
                        (is_element(node, "interface") && attribute_is(node, "type", "vdpa")) ||
                        (is_element(node, "disk") && attribute_is(node, "type", "vhostvdpa"));
        const xmlNode *address = child_of(child_of(node, "source"), "address");
        if (is_pci || is_other)
            info->has_passthrough = true;
        if (is_pci && address && !parse_pci_address(address, info, error))
            return false;
    }
    return true;
}

static bool parse_domain(const xmlNode *domain, HnDomainInfo *info, GError **error)
{
    if (!domain || !is_element(domain, "domain")) {
        g_autofree char *shown = hn_shorten(domain ? (const char *)domain->name : NULL);
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "domain XML: root element <%s>: <domain> is expected", shown);
        return false;
    }
    parse_metadata(domain, info);
    return parse_identity(domain, info, error) && parse_vcpus(domain, info, error) &&
           parse_iothreads(domain, info, error) && parse_cputune(domain, info, error) &&
           parse_numatune(domain, info, error) && parse_memory(domain, info, error) &&
           parse_backing(domain, info, error) && parse_passthrough(domain, info, error);
}

bool hn_libvirt_domain_xml_parse(const char *xml, size_t len, HnDomainInfo **ret_info,
                                 GError **error)
{
    if (len > MAX_XML_BYTES) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                    "domain XML: %zu bytes: at most %d are allowed", len, MAX_XML_BYTES);
        return false;
    }
    xmlDoc *doc = xmlReadMemory(xml, (int)len, "domain.xml", NULL,
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                                    XML_PARSE_NOCDATA);
    if (!doc || doc->intSubset) { /* libvirt prints no DTD; entities have no business here */
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "domain XML: not well-formed");
        xmlFreeDoc(doc);
        return false;
    }
    g_autoptr(HnDomainInfo) info = hn_domain_info_new();
    bool is_good = parse_domain(xmlDocGetRootElement(doc), info, error);
    xmlFreeDoc(doc);
    if (is_good)
        *ret_info = g_steal_pointer(&info);
    return is_good;
}
