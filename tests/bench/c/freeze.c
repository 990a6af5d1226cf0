/* Freeze a group and wait until the kernel confirms it, then thaw it.
 *
 * usage: freeze ROUNDS GROUP v1|v2
 * Prints nanoseconds a freeze (the thaw is not counted). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void put(int dir, const char *file, const char *value) {
    int fd = openat(dir, file, O_WRONLY);
    if (fd < 0 || write(fd, value, strlen(value)) < 0) { perror(file); exit(1); }
    close(fd);
}

static int has(int fd, const char *wanted) {
    char text[256];
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = 0;
    return strstr(text, wanted) != NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    int rounds = atoi(argv[1]), dir = open(argv[2], O_PATH | O_DIRECTORY), v1 = !strcmp(argv[3], "v1");
    int state = openat(dir, v1 ? "freezer.state" : "cgroup.events", O_RDONLY);
    double total = 0;
    for (int round = 0; round < rounds; round++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        if (v1) {
            do put(dir, "freezer.state", "FROZEN");
            while (!has(state, "FROZEN"));
        } else {
            put(dir, "cgroup.freeze", "1");
            while (!has(state, "frozen 1")) {
                struct pollfd wait = {.fd = state, .events = POLLPRI};
                poll(&wait, 1, -1);
            }
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        total += (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
        put(dir, v1 ? "freezer.state" : "cgroup.freeze", v1 ? "THAWED" : "0");
    }
    printf("%.0f\n", total / rounds);
    return 0;
}
