/* Read and parse every statistics file of many groups: the fewest system calls that do it.
 *
 * usage: stats GROUPS HIERARCHY... -- FILE...
 * FILE is HIERARCHY-INDEX:NAME; the groups are HIERARCHY/g0, g1, ...  Every number in every file is
 * parsed and kept.  Prints nanoseconds a group, and on a second line how many numbers there were. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char text[1 << 16];
static unsigned long long kept[1 << 12];

static int parse(const char *from) {
    int found = 0;
    for (const char *at = from; *at;) {
        if (*at >= '0' && *at <= '9' && (at == from || at[-1] == ' ' || at[-1] == '=' || at[-1] == '\n')) {
            char *end;
            kept[found++ & 4095] = strtoull(at, &end, 10);
            at = end;
        } else {
            at++;
        }
    }
    return found;
}

int main(int argc, char **argv) {
    int groups = atoi(argv[1]), trees = 0, dirs[32], files = 0, i = 2;
    struct { int tree; const char *name; } read_[128];
    for (; i < argc && strcmp(argv[i], "--"); i++)
        if ((dirs[trees++] = open(argv[i], O_PATH | O_DIRECTORY)) < 0) { perror(argv[i]); return 1; }
    for (i++; i < argc; i++, files++) {
        read_[files].tree = atoi(argv[i]);
        read_[files].name = strchr(argv[i], ':') + 1;
    }
    struct timespec from, to;
    unsigned long long numbers = 0;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int g = 0; g < groups; g++)
        for (int f = 0; f < files; f++) {
            char path[256];
            snprintf(path, sizeof path, "g%d/%s", g, read_[f].name);
            int fd = openat(dirs[read_[f].tree], path, O_RDONLY);
            if (fd < 0) continue;
            ssize_t got = read(fd, text, sizeof text - 1);
            close(fd);
            if (got <= 0) continue;
            text[got] = 0;
            numbers += parse(text);
        }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.0f\n%llu\n",
           ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / groups, numbers / groups);
    return 0;
}
