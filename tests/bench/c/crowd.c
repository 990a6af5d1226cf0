/* Many processes that wait for nothing.
 *
 * usage: crowd COUNT
 * Waits for a byte on its input, so that it can be put into a group first, then is COUNT processes,
 * itself included, and says so with one line.  All end with its input, or with itself. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char byte;
    if (argc < 2 || read(0, &byte, 1) != 1) return 2;
    for (int others = atoi(argv[1]) - 1; others > 0; others--) {
        pid_t pid = fork();
        if (pid < 0) { perror("fork"); return 1; }
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) pause();
        }
    }
    puts("ready");
    fflush(stdout);
    while (read(0, &byte, 1) > 0);
    return 0;
}
