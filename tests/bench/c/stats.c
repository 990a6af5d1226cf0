/* Read and parse every statistics file of many groups: the fewest system calls that do it.
 *
 * usage: stats FIRST COUNT HIERARCHY... -- INDEX:FILE...
 * The groups are HIERARCHY/FIRST and on, COUNT of them; INDEX counts the hierarchies from 0.  Their
 * directories are opened before the clock starts.  Every number in every file is parsed and kept.
 * Prints nanoseconds for all, and on a second line how many numbers there were. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 256

static char text[1 << 16];
static unsigned long long kept[1 << 12];

static void fail(const char *what) { perror(what); exit(1); }

static int parse(const char *at) {
    int found = 0;
    for (char before = '\n'; *at; before = *at++)
        if (*at >= '0' && *at <= '9' && strchr(" \n=.", before)) {
            char *end;
            kept[found++ & 4095] = strtoull(at, &end, 10);
            at = end - 1;
        }
    return found;
}

static int read_file(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY);
    if (fd < 0) fail(name);
    ssize_t got = read(fd, text, sizeof text - 1);
    if (got < 0) fail(name);
    close(fd);
    text[got] = 0;
    return parse(text);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int first = atoi(argv[1]), count = atoi(argv[2]), trees = 0, files = 0, i = 3;
    struct { int tree; const char *name; } file[MOST];
    while (i + trees < argc && strcmp(argv[i + trees], "--")) trees++;
    int *dirs = calloc((size_t)count * trees, sizeof *dirs);
    for (int g = 0; g < count; g++)
        for (int t = 0; t < trees; t++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%d", argv[i + t], first + g);
            if ((dirs[g * trees + t] = open(path, O_PATH | O_DIRECTORY)) < 0) fail(path);
        }
    for (i += trees + 1; i < argc && files < MOST; i++, files++) {
        file[files].tree = atoi(argv[i]);
        file[files].name = strchr(argv[i], ':') + 1;
    }
    struct timespec from, to;
    unsigned long long numbers = 0;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int g = 0; g < count; g++)
        for (int f = 0; f < files; f++)
            numbers += read_file(dirs[g * trees + file[f].tree], file[f].name);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.0f\n%llu\n", (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec), numbers);
    return 0;
}
