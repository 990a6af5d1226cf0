/* Freeze a group and wait until the kernel confirms it, then thaw it.
 *
 * usage: freeze ROUNDS GROUP v1|v2
 * Prints nanoseconds of one freeze, a line a round; the thaw is not counted. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) { perror(what); exit(1); }

static void put(int dir, const char *file, const char *value) {
    int fd = openat(dir, file, O_WRONLY);
    if (fd < 0 || write(fd, value, strlen(value)) < 0) fail(file);
    close(fd);
}

static int has(int fd, const char *wanted) {
    char text[256];
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = 0;
    return strstr(text, wanted) != NULL;
}

/* v1 tells nobody when it is done: it has to be asked again and again. */
static void freeze_v1(int dir, int state) {
    put(dir, "freezer.state", "FROZEN");
    while (!has(state, "FROZEN"));
}

static void freeze_v2(int dir, int events) {
    struct pollfd wait = {.fd = events, .events = POLLPRI};
    put(dir, "cgroup.freeze", "1");
    while (!has(events, "frozen 1")) poll(&wait, 1, -1);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int rounds = atoi(argv[1]), dir = open(argv[2], O_PATH | O_DIRECTORY), v1 = !strcmp(argv[3], "v1");
    int state = openat(dir, v1 ? "freezer.state" : "cgroup.events", O_RDONLY);
    if (state < 0) fail(argv[2]);
    for (int round = 0; round < rounds; round++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        (v1 ? freeze_v1 : freeze_v2)(dir, state);
        clock_gettime(CLOCK_MONOTONIC, &to);
        printf("%.0f\n", (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec));
        put(dir, v1 ? "freezer.state" : "cgroup.freeze", v1 ? "THAWED" : "0");
        while (has(state, v1 ? "FROZEN" : "frozen 1"));
    }
    return 0;
}
