/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job runner inside the emulated host: it executes what the lab driver asks for.
 *
 * Theory of operation. QEMU gives the emulated host a few virtio-serial ports. One process per
 * port waits for a client on the other side, runs one job at a time (a bash script), and sends
 * back its output, its exit status, and a heartbeat while it runs, so that the driver can tell a
 * slow job from a wedged host. Two jobs at once use two ports. Both directions carry frames:
 * one byte of kind, four bytes of length (little endian), then that many bytes.
 *
 *   driver → runner   S nonce   start of a client's session: kill what runs, answer S nonce
 *                     R script  run it with bash
 *                     I data    bytes for the job's standard input
 *                     E         end of standard input
 *   runner → driver   S nonce   ready
 *                     O data    standard output
 *                     F data    standard error
 *                     H         the job still runs
 *                     X status  exit status (0..255, 128 + signal) as four bytes
 *
 * A client that goes away kills its job (the whole process group): a time-out on the driver's
 * side needs nothing but closing the port. What a job left in the background with its output
 * redirected lives on.
 *
 * That a client went and the next one came is told by another queue than their data, and later: on a busy
 * host the next one's job may run already when its forerunner's end is seen. So a client is gone only
 * when it stays away for CLIENT_GRACE_MS; who comes sooner begins with S, which ends what is left.
 *
 * It must not allocate without bound, and must not depend on any library of the image: it is
 * linked statically so that one binary serves every suite.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FRAME_HEADER_BYTES 5
#define FRAME_PAYLOAD_MAX_BYTES (1u << 20)
#define CHUNK_BYTES 16384
#define HEARTBEAT_MS 2000
#define NO_CLIENT_RECHECK_MS 1000 /* SIGIO normally wakes us earlier */
#define CLIENT_GRACE_MS 2000      /* shorter than port.py's RECONNECT_PAUSE_S */
#define CLIENT_RECHECK_MS 20
#define PORT_PREFIX "homenode.lab."

typedef struct {
    pid_t pid; /* also its process group; 0: no job */
    int pidfd;
    int in, out, err; /* our ends of its pipes; -1: closed */
    int64_t last_beat_ms;
} Job;

typedef struct {
    int fd;
    Job job;
    /* The frame being received. */
    uint8_t header[FRAME_HEADER_BYTES];
    size_t header_fill;
    uint8_t *payload;
    size_t payload_bytes, payload_fill;
    /* Standard input that the job has not taken yet; the port is not read meanwhile. */
    uint8_t *pending;
    size_t pending_bytes, pending_fill;
    bool is_input_ended;
} Port;

static int64_t
now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The port has hung up: for good, or does a client come within the grace? */
static bool
is_client_gone(const Port *port)
{
    const struct timespec pause = { .tv_nsec = CLIENT_RECHECK_MS * 1000000 };
    int64_t end_ms = now_ms() + CLIENT_GRACE_MS;

    while (now_ms() < end_ms) {
        struct pollfd p = { .fd = port->fd, .events = POLLIN };
        if (poll(&p, 1, 0) >= 0 && !(p.revents & (POLLHUP | POLLERR)))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Writes all of it, or returns false when the client is gone. */
static bool
port_write(Port *port, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t n = write(port->fd, at, bytes);
        if (n > 0) {
            at += n;
            bytes -= (size_t) n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        } else {
            struct pollfd p = { .fd = port->fd, .events = POLLOUT };
            if (poll(&p, 1, NO_CLIENT_RECHECK_MS) > 0 && (p.revents & POLLHUP) && is_client_gone(port))
                return false;
        }
    }
    return true;
}

static bool
send_frame(Port *port, char kind, const void *data, uint32_t bytes)
{
    uint8_t header[FRAME_HEADER_BYTES] = { (uint8_t) kind, (uint8_t) bytes, (uint8_t) (bytes >> 8),
                                           (uint8_t) (bytes >> 16), (uint8_t) (bytes >> 24) };
    return port_write(port, header, sizeof header) && port_write(port, data, bytes);
}

static void
forget_input(Port *port)
{
    free(port->pending);
    port->pending = NULL;
    port->pending_bytes = port->pending_fill = 0;
    port->is_input_ended = false;
}

static void
job_close(Port *port)
{
    close_fd(&port->job.in);
    close_fd(&port->job.out);
    close_fd(&port->job.err);
    close_fd(&port->job.pidfd);
    port->job.pid = 0;
    forget_input(port);
}

static void
job_kill(Port *port)
{
    if (port->job.pid > 0) {
        if (kill(-port->job.pid, SIGKILL) < 0) /* it has no group of its own yet */
            kill(port->job.pid, SIGKILL);
        waitpid(port->job.pid, NULL, 0);
    }
    job_close(port);
}

/* In the child: becomes bash on the script behind @script_fd. Never returns. */
static void
job_exec(int script_fd, int in, int out, int err)
{
    char path[32];
    sigset_t none;

    setsid();
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    snprintf(path, sizeof path, "/proc/self/fd/%d", script_fd);
    if (chdir("/root") != 0)
        perror("/root");
    execl("/bin/bash", "bash", path, (char *) NULL);
    perror("bash");
    _exit(127);
}

static bool
job_start(Port *port, const uint8_t *script, size_t bytes)
{
    int in[2], out[2], err[2];
    int script_fd = (int) syscall(SYS_memfd_create, "job", 0);
    bool is_written = script_fd >= 0;

    for (size_t done = 0; is_written && done < bytes;) {
        ssize_t n = write(script_fd, script + done, bytes - done);
        is_written = n > 0;
        done += n > 0 ? (size_t) n : 0;
    }
    if (!is_written || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
        static const char text[] = "lab runner: no memory or descriptors for a job\n";
        const uint8_t status[4] = { 126 };
        return send_frame(port, 'F', text, sizeof text - 1) && send_frame(port, 'X', status, 4);
    }
    port->is_input_ended = false;
    pid_t pid = fork();
    if (pid == 0)
        job_exec(script_fd, in[0], out[1], err[1]);
    close(script_fd);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    port->job = (Job) { .pid = pid, .in = in[1], .out = out[0], .err = err[0],
                        .pidfd = (int) syscall(SYS_pidfd_open, pid, 0), .last_beat_ms = now_ms() };
    fcntl(port->job.in, F_SETFL, O_NONBLOCK);
    fcntl(port->job.out, F_SETFL, O_NONBLOCK);
    fcntl(port->job.err, F_SETFL, O_NONBLOCK);
    return true;
}

/* Passes on what the job has written; false when the client is gone. */
static bool
forward(Port *port, int *fd, char kind)
{
    uint8_t buffer[CHUNK_BYTES];
    ssize_t n = *fd >= 0 ? read(*fd, buffer, sizeof buffer) : -1;

    if (n > 0)
        return send_frame(port, kind, buffer, (uint32_t) n);
    if (n == 0 || (*fd >= 0 && errno != EAGAIN && errno != EINTR))
        close_fd(fd);
    return true;
}

/* What is already in the pipe of an ended job (a pipe's capacity bounds it: a background
 * process that keeps writing must not hold the job open). */
static bool
drain(Port *port, int *fd, char kind)
{
    for (int i = 0; i < 65536 / CHUNK_BYTES + 1 && *fd >= 0; i++)
        if (!forward(port, fd, kind))
            return false;
    return true;
}

static bool
job_reap(Port *port)
{
    int wait_status = 0;

    if (waitpid(port->job.pid, &wait_status, WNOHANG) != port->job.pid)
        return true;
    int code = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    const uint8_t status[4] = { (uint8_t) code };
    bool is_ok = drain(port, &port->job.out, 'O') && drain(port, &port->job.err, 'F') &&
                 send_frame(port, 'X', status, sizeof status);
    job_close(port);
    return is_ok;
}

/* Gives the job what it takes of its pending standard input. */
static void
feed(Port *port)
{
    Job *job = &port->job;

    while (job->in >= 0 && port->pending_fill < port->pending_bytes) {
        ssize_t n = write(job->in, port->pending + port->pending_fill,
                          port->pending_bytes - port->pending_fill);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            close_fd(&job->in); /* it does not want any more */
        else
            port->pending_fill += (size_t) n;
    }
    bool is_ended = port->is_input_ended;
    forget_input(port);
    port->is_input_ended = is_ended;
    if (is_ended)
        close_fd(&job->in);
}

static bool
handle_frame(Port *port)
{
    switch (port->header[0]) {
    case 'S':
        job_kill(port);
        return send_frame(port, 'S', port->payload, (uint32_t) port->payload_bytes);
    case 'R':
        job_kill(port);
        return job_start(port, port->payload, port->payload_bytes);
    case 'I':
        if (port->job.pid > 0) {
            port->pending = port->payload;
            port->pending_bytes = port->payload_bytes;
            port->payload = NULL;
            feed(port);
        }
        return true;
    case 'E':
        port->is_input_ended = true;
        feed(port);
        return true;
    default:
        return false;
    }
}

/* Reads what is there, frame by frame; false when the client is gone or talks nonsense. */
static bool
receive(Port *port)
{
    while (port->pending == NULL) {
        bool is_header = port->header_fill < FRAME_HEADER_BYTES;
        uint8_t *to = is_header ? port->header + port->header_fill
                                : port->payload + port->payload_fill;
        size_t want = is_header ? FRAME_HEADER_BYTES - port->header_fill
                                : port->payload_bytes - port->payload_fill;
        ssize_t n = want > 0 ? read(port->fd, to, want) : 0;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0 && want > 0)
            return !is_client_gone(port);
        if (is_header) {
            port->header_fill += (size_t) n;
            if (port->header_fill < FRAME_HEADER_BYTES)
                continue;
            const uint8_t *h = port->header;
            port->payload_bytes = h[1] | (size_t) h[2] << 8 | (size_t) h[3] << 16 |
                                  (size_t) h[4] << 24;
            port->payload_fill = 0;
            if (port->payload_bytes > FRAME_PAYLOAD_MAX_BYTES)
                return false;
            port->payload = malloc(port->payload_bytes + 1);
            if (port->payload == NULL)
                return false;
        } else {
            port->payload_fill += (size_t) n;
        }
        if (port->payload_fill == port->payload_bytes) {
            bool is_ok = handle_frame(port);
            free(port->payload);
            port->payload = NULL;
            port->header_fill = 0;
            if (!is_ok)
                return false;
        }
    }
    return true;
}

/* One client from its arrival to its end. */
static void
serve_client(Port *port)
{
    bool is_alive = true;

    while (is_alive) {
        Job *job = &port->job;
        struct pollfd p[] = {
            { .fd = port->fd, .events = port->pending ? 0 : POLLIN },
            { .fd = job->pid ? job->out : -1, .events = POLLIN },
            { .fd = job->pid ? job->err : -1, .events = POLLIN },
            { .fd = job->pid ? job->pidfd : -1, .events = POLLIN },
            { .fd = port->pending ? job->in : -1, .events = POLLOUT },
        };
        poll(p, sizeof p / sizeof p[0], job->pid ? HEARTBEAT_MS : -1);
        if (p[0].revents & POLLIN)
            is_alive = receive(port);
        else if (p[0].revents & (POLLHUP | POLLERR))
            is_alive = !is_client_gone(port);
        if (is_alive && (p[1].revents & (POLLIN | POLLHUP)))
            is_alive = forward(port, &job->out, 'O');
        if (is_alive && (p[2].revents & (POLLIN | POLLHUP)))
            is_alive = forward(port, &job->err, 'F');
        if (is_alive && (p[4].revents & (POLLOUT | POLLERR)))
            feed(port);
        if (is_alive && job->pid && now_ms() - job->last_beat_ms >= HEARTBEAT_MS) {
            is_alive = send_frame(port, 'H', "", 0);
            job->last_beat_ms = now_ms();
        }
        if (is_alive && job->pid && (p[3].revents & POLLIN))
            is_alive = job_reap(port);
    }
    job_kill(port);
    free(port->payload);
    port->payload = NULL;
    port->header_fill = 0;
}

static void
serve_port(const char *device)
{
    Port port = { .fd = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC),
                  .job = { .pidfd = -1, .in = -1, .out = -1, .err = -1 } };
    sigset_t wake;
    uint8_t stale[CHUNK_BYTES];

    if (port.fd < 0) {
        perror(device);
        exit(1);
    }
    sigemptyset(&wake);
    sigaddset(&wake, SIGIO);
    sigprocmask(SIG_BLOCK, &wake, NULL);
    signal(SIGPIPE, SIG_IGN);
    fcntl(port.fd, F_SETOWN, getpid());
    fcntl(port.fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC);
    for (;;) {
        struct pollfd p = { .fd = port.fd, .events = POLLIN };
        if (poll(&p, 1, 0) >= 0 && (p.revents & POLLHUP)) {
            const struct timespec recheck = { .tv_sec = NO_CLIENT_RECHECK_MS / 1000 };
            sigtimedwait(&wake, NULL, &recheck);
            continue;
        }
        serve_client(&port);
        /* The rest of a client that died. Only now: later, what is there may be the first word of
         * the next one, whose data can be seen before its arrival is. */
        p.revents = 0;
        if (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP))
            while (read(port.fd, stale, sizeof stale) > 0)
                ;
    }
}

int
main(void)
{
    DIR *ports = opendir("/sys/class/virtio-ports");
    const struct dirent *entry;
    int count = 0;

    if (ports == NULL) {
        perror("/sys/class/virtio-ports");
        return 1;
    }
    while ((entry = readdir(ports)) != NULL) {
        char path[PATH_MAX], name[64] = "";
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file != NULL) {
            if (fgets(name, sizeof name, file) == NULL)
                name[0] = '\0';
            fclose(file);
        }
        if (strncmp(name, PORT_PREFIX, strlen(PORT_PREFIX)) != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        if (fork() == 0)
            serve_port(path);
        count++;
    }
    closedir(ports);
    fprintf(stderr, "lab runner: %d ports\n", count);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    return 1;
}
