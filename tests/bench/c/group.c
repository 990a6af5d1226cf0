/* Make a group, give it eight settings, remove it: the fewest system calls that do it.
 *
 * usage: group ROUNDS HIERARCHY... -- FILE=VALUE...
 * Each HIERARCHY is an existing group; FILE is HIERARCHY-INDEX:NAME.  Prints nanoseconds a round. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME "cgmgr-bench-c"

static void fail(const char *what) { perror(what); exit(1); }

int main(int argc, char **argv) {
    int rounds = atoi(argv[1]), trees = 0, dirs[32], settings = 0;
    struct { int tree; char file[128]; const char *value; size_t length; } set[16];
    int i = 2;
    for (; i < argc && strcmp(argv[i], "--"); i++)
        if ((dirs[trees++] = open(argv[i], O_PATH | O_DIRECTORY)) < 0) fail(argv[i]);
    for (i++; i < argc; i++, settings++) {
        char *file = strchr(argv[i], ':'), *value = strchr(argv[i], '=');
        *value++ = 0;
        set[settings].tree = atoi(argv[i]);
        snprintf(set[settings].file, sizeof set->file, NAME "/%s", file + 1);
        set[settings].value = value;
        set[settings].length = strlen(value);
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int round = 0; round < rounds; round++) {
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
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.0f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / rounds);
    return 0;
}
