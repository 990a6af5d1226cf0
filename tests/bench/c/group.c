/* Make a group, give it settings, remove it: the fewest system calls that do it.
 *
 * usage: group ROUNDS HIERARCHY... -- INDEX:FILE=VALUE...
 * Each HIERARCHY is an existing group, INDEX counts them from 0.  One round more is made first,
 * which does not count.  Prints nanoseconds a round. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME "c"
#define MOST 32

static int trees, dirs[MOST], settings;
static struct { int tree; char file[128]; const char *value; size_t length; } set[MOST];

static void fail(const char *what) { perror(what); exit(1); }

static void arguments(int argc, char **argv) {
    int i = 2;
    for (; i < argc && strcmp(argv[i], "--"); i++)
        if (trees == MOST || (dirs[trees++] = open(argv[i], O_PATH | O_DIRECTORY)) < 0) fail(argv[i]);
    for (i++; i < argc && settings < MOST; i++, settings++) {
        char *file = strchr(argv[i], ':'), *value = strchr(argv[i], '=');
        if (!file || !value) fail("usage");
        *value++ = 0;
        set[settings].tree = atoi(argv[i]);
        snprintf(set[settings].file, sizeof set->file, NAME "/%s", file + 1);
        set[settings].value = value;
        set[settings].length = strlen(value);
    }
}

static void one_round(void) {
    for (int t = 0; t < trees; t++)
        if (mkdirat(dirs[t], NAME, 0755)) fail("mkdir");
    for (int s = 0; s < settings; s++) {
        int fd = openat(dirs[set[s].tree], set[s].file, O_WRONLY);
        if (fd < 0 || write(fd, set[s].value, set[s].length) < 0) fail(set[s].file);
        close(fd);
    }
    for (int t = 0; t < trees; t++)
        if (unlinkat(dirs[t], NAME, AT_REMOVEDIR)) fail("rmdir");
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int rounds = atoi(argv[1]);
    struct timespec from, to;
    arguments(argc, argv);
    one_round();
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int round = 0; round < rounds; round++) one_round();
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.0f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / rounds);
    return 0;
}
