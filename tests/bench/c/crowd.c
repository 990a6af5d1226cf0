/* Many processes that wait for nothing.
 *
 * usage: crowd COUNT
 * Waits for a byte on its input, so that it can be put into a group first, then is COUNT processes,
 * itself included, and says so with one line.  It ends them when its input ends; they end with it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 10000

static pid_t others[MOST];

int main(int argc, char **argv) {
    int count = 0, wanted = argc > 1 ? atoi(argv[1]) - 1 : -1;
    char byte;
    if (wanted < 0 || wanted > MOST || read(0, &byte, 1) != 1) return 2;
    for (; count < wanted; count++) {
        if ((others[count] = fork()) < 0) { perror("fork"); return 1; }
        if (others[count] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) pause();
        }
    }
    puts("ready");
    fflush(stdout);
    while (read(0, &byte, 1) > 0);
    for (int i = 0; i < count; i++) kill(others[i], SIGKILL);
    while (wait(NULL) > 0);
    return 0;
}
