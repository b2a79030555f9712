/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the meter's counters and control protocol without an emulator: what counts, for whom and
 * on which node; what is refused.
 */
#include <glib.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static bool armed;

static bool set_armed(bool is_wanted)
{
    armed = is_wanted;
    return true;
}

static bool get_armed(void)
{
    return armed;
}

static int64_t now_ns(void)
{
    return 123;
}

static Control control = {.set_armed = set_armed, .is_armed = get_armed, .now_ns = now_ns};

static void access_memory(Meter *meter, unsigned space, uint64_t vaddr, uint64_t phys)
{
    if (meter_is_miss(meter, meter->vcpus[0], space, vaddr)) {
        meter_count(meter, meter->vcpus[0], space, vaddr, phys);
    }
}

static Meter *meter_with_vcpu(uint64_t cache_bytes)
{
    Meter *meter = meter_new(4 * GIB, cache_bytes);

    g_assert_nonnull(meter);
    g_assert_true(meter_add_vcpu(meter, 0));
    g_assert_true(meter_set_node(meter, 0, GIB, 0));
    g_assert_true(meter_set_node(meter, GIB, 2 * GIB, 1));
    return meter;
}

static void test_cache_sizes(void)
{
    static const struct {
        uint64_t cache_bytes;
        bool is_ok;
    } cases[] = {{0, true}, {64, true}, {256 * 1024, true}, {63, false}, {96, false}, {192, false}};

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Meter *meter = meter_new(GIB, cases[i].cache_bytes);

        g_assert_cmpint(meter != NULL, ==, cases[i].is_ok);
        if (meter != NULL) {
            meter_free(meter);
        }
    }
}

static void test_only_misses_count(void)
{
    Meter *meter = meter_with_vcpu(4096); /* 64 lines */
    const MeterCell *cell = &meter->vcpus[0]->cells[3];

    access_memory(meter, 3, 0x1000, 0x1000);
    access_memory(meter, 3, 0x1008, 0x1008); /* same line */
    g_assert_cmpuint(cell->nodes[0], ==, 1);
    access_memory(meter, 3, 0x2000, GIB); /* same slot, other line */
    g_assert_cmpuint(cell->nodes[1], ==, 1);
    access_memory(meter, 3, 0x1000, 0x1000); /* evicted meanwhile */
    g_assert_cmpuint(cell->nodes[0], ==, 2);
    access_memory(meter, 4, 0x1000, 0x1000); /* another space's line at the same address */
    g_assert_cmpuint(meter->vcpus[0]->cells[4].nodes[0], ==, 1);
    g_assert_cmpuint(cell->accesses, ==, 4);
    meter_free(meter);
}

static void test_raw_counts_all(void)
{
    Meter *meter = meter_with_vcpu(0);

    for (unsigned i = 0; i < 5; i++) {
        access_memory(meter, 1, 0x1000, 0x1000);
    }
    g_assert_cmpuint(meter->vcpus[0]->cells[1].nodes[0], ==, 5);
    meter_free(meter);
}

static void test_nodes(void)
{
    Meter *meter = meter_with_vcpu(0);
    const MeterCell *cell = &meter->vcpus[0]->cells[1];

    access_memory(meter, 1, 0, GIB - 1);
    access_memory(meter, 1, 0, GIB);
    access_memory(meter, 1, 0, 3 * GIB);   /* no node's */
    access_memory(meter, 1, 0, 100 * GIB); /* beyond all */
    g_assert_cmpuint(cell->nodes[0], ==, 1);
    g_assert_cmpuint(cell->nodes[1], ==, 1);
    g_assert_cmpuint(cell->nodes[METER_NO_NODE], ==, 2);
    g_assert_false(meter_set_node(meter, 0, 4 * GIB + MIB, 0));
    g_assert_false(meter_set_node(meter, 0, MIB + 1, 0));
    g_assert_false(meter_set_node(meter, 0, MIB, METER_NO_NODE));
    meter_free(meter);
}

static void test_spaces(void)
{
    Meter *meter = meter_with_vcpu(0);

    g_assert_cmpuint(meter_space(meter, 0x1000), ==, 1);
    g_assert_cmpuint(meter_space(meter, 0x2000), ==, 2);
    g_assert_cmpuint(meter_space(meter, 0x1000), ==, 1);
    for (unsigned i = 3; i < 200; i++) {
        meter_space(meter, i * 0x1000);
    }
    g_assert_cmpuint(meter_space(meter, 0xabcd000), ==, METER_MAX_SPACES - 1);
    meter_free(meter);
}

static void test_votes_and_ranges(void)
{
    Meter *meter = meter_with_vcpu(0);

    g_assert_true(meter_announce_pages(meter, 7, 0x10, 0x20));
    g_assert_false(meter_announce_pages(meter, 0, 0x10, 0x20));
    g_assert_false(meter_announce_pages(meter, 7, 0x10, (4 * GIB >> 12) + 1));
    access_memory(meter, 1, 0, 0x10000);
    access_memory(meter, 1, 0, 0x1ffff);
    access_memory(meter, 1, 0, 0x20000);
    g_assert_cmpuint(meter->votes[1][7], ==, 2);

    g_assert_false(meter_has_ranges(meter));
    g_assert_true(meter_announce_range(meter, 9, 0x7000, 0x8000));
    access_memory(meter, 0, 0x7fff, GIB);
    access_memory(meter, 0, 0x8000, GIB);
    g_assert_cmpuint(meter->vcpus[0]->range_nodes[9][1], ==, 1);

    meter_forget(meter);
    g_assert_false(meter_has_ranges(meter));
    g_assert_cmpuint(meter->votes[1][7], ==, 0);
    g_assert_cmpuint(meter->vcpus[0]->cells[1].nodes[0], ==, 3);
    meter_free(meter);
}

/* Executes a line and returns the answer parsed; the caller puts it. */
static json_object *execute(const char *line)
{
    g_autofree char *copy = g_strdup(line);
    g_autoptr(GString) answer = g_string_new(NULL);
    json_object *object;

    control_execute(&control, copy, answer);
    object = json_tokener_parse(answer->str);
    g_assert_nonnull(object);
    return object;
}

static void test_protocol(void)
{
    static const struct {
        const char *line;
        bool is_ok;
    } cases[] = {
        {"node 0 0x40000000 0", true},
        {"node 0 0x40000000 15", false},
        {"node 0 0x40000000", false},
        {"node 5 6 0", false},
        {"node 0 -5 0", false},
        {"pages 1 0-16 99 0x20-0x30", true},
        {"pages 64 0-16", false},
        {"pages 1", false},
        {"pages 1 9-8", false},
        {"pages 1 99999999999999999999", false},
        {"range 2 0x1000 0x2000", true},
        {"range 2 0x2000 0x1000", false},
        {"forget", true},
        {"arm", true},
        {" read ", true},
        {"disarm", true},
        {"", false},
        {"quit\"\\", false},
    };

    control.meter = meter_with_vcpu(0);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_object *answer = execute(cases[i].line), *ok, *error;

        g_assert_true(json_object_object_get_ex(answer, "ok", &ok));
        if (json_object_get_boolean(ok) != cases[i].is_ok) {
            g_error("'%s' answered %s", cases[i].line, json_object_to_json_string(answer));
        }
        g_assert_cmpint(json_object_object_get_ex(answer, "error", &error), ==, !cases[i].is_ok);
        json_object_put(answer);
    }
    meter_free(control.meter);
}

static void test_reading(void)
{
    json_object *answer;

    control.meter = meter_with_vcpu(0);
    armed = true;
    meter_space(control.meter, 0x5000);
    access_memory(control.meter, 1, 0, GIB);
    answer = execute("read");
    g_assert_cmpstr(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN), ==,
                    "{\"ok\":true,\"t_ns\":123,\"is_armed\":true,\"n_vcpus\":1,\"spaces\":["
                    "{\"space\":1,\"root\":20480,\"votes\":{},\"vcpus\":{\"0\":{\"accesses\":1,"
                    "\"insns\":0,\"entries\":0,\"nodes\":[0,1]}}},"
                    "{\"space\":127,\"root\":0,\"votes\":{},\"vcpus\":{}}],\"ranges\":[]}");
    json_object_put(answer);
    meter_free(control.meter);
}

/* The thread behind the socket; it lives until the program ends. */
static void test_socket(void)
{
    g_autofree char *folder = g_dir_make_tmp("meter-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "s", NULL);
    g_autofree char *too_long = g_strnfill(200, 'x');
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer[4096];
    ssize_t n;
    int fd;

    control.meter = meter_with_vcpu(0);
    g_assert_false(control_start(&control, too_long));
    g_assert_true(control_start(&control, path));
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    for (unsigned round = 0; round < 2; round++) { /* one client after the other */
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
        g_assert_cmpint(write(fd, "forget\n", 7), ==, 7);
        n = read(fd, answer, sizeof answer - 1);
        g_assert_cmpint(n, >, 0);
        answer[n] = '\0';
        g_assert_cmpstr(answer, ==, "{\"ok\":true}\n");
        close(fd);
    }
    unlink(path);
    rmdir(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/meter/cache-sizes", test_cache_sizes);
    g_test_add_func("/meter/only-misses-count", test_only_misses_count);
    g_test_add_func("/meter/raw-counts-all", test_raw_counts_all);
    g_test_add_func("/meter/nodes", test_nodes);
    g_test_add_func("/meter/spaces", test_spaces);
    g_test_add_func("/meter/votes-and-ranges", test_votes_and_ranges);
    g_test_add_func("/meter/protocol", test_protocol);
    g_test_add_func("/meter/reading", test_reading);
    g_test_add_func("/meter/socket", test_socket);
    return g_test_run();
}
