// SPDX-License-Identifier: MIT
// Runs the programs of a list one after the other and tells whoever reads its output when each
// starts and ends. As process 1 of the guest it talks to the serial port and powers off at the end;
// on the host it is started with standard output on a pipe: driver LIST. Without LIST the file is
// list.
//
// Lines of the list: number, then the words of the command, separated by tabs.
// Lines of the output: "@I" at the start, "@B n" and "@E n status" around each program, "@O n hash
// text" with the hash and the start of what it printed, "@Q" at the end. "@B" and "@E" fit into the
// 16 bytes of a UART's FIFO, so that they leave in one go when they are written. What a program
// prints goes to memory and is not part of the measured time.
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "bench.h"

enum { WORDS = 128, SHOWN = 200 };

static void say(const char *line)
{
    size_t size = strlen(line);
    while (size > 0) {
        ssize_t sent = write(STDOUT_FILENO, line, size);
        expect(sent > 0, "output");
        line += sent;
        size -= sent;
    }
}

// The first process has nothing: no devices, no files, no descriptors.
static void become_init(void)
{
    struct termios t;
    mkdir("dev", 0755);
    mkdir("proc", 0755);
    mkdir("tmp", 0755);
    mount("dev", "dev", "devtmpfs", 0, NULL);
    mount("proc", "proc", "proc", 0, NULL);
    mount("tmp", "tmp", "tmpfs", 0, NULL);
    int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    for (int fd = 0; fd < 3 && console >= 0; fd++)
        dup2(console, fd);
    if (tcgetattr(STDOUT_FILENO, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(STDOUT_FILENO, TCSANOW, &t);
    }
}

static void run_program(char **words, int output)
{
    static char *environment[] = {"PATH=bin",   "PYTHONHOME=usr", "PYTHONHASHSEED=0", "LC_ALL=C",
                                  "TMPDIR=tmp", "HOME=tmp",       "OPENSSL_CONF=",    NULL};
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execve(words[0], words, environment);
    dprintf(STDERR_FILENO, "cannot execute %s", words[0]);
    _exit(127);
}

static void report_output(const char *number, int output)
{
    char line[SHOWN + 64], text[SHOWN + 1];
    u8 piece[4096];
    u64 hash = HASH_START;
    ssize_t size, shown = pread(output, text, SHOWN, 0);
    for (off_t at = 0; (size = pread(output, piece, sizeof(piece), at)) > 0; at += size)
        hash = hash_bytes(piece, size, hash);
    text[shown > 0 ? shown : 0] = 0;
    for (char *c = text; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = ' ';
    snprintf(line, sizeof(line), "@O %s %016llx %s\n", number, (unsigned long long)hash, text);
    say(line);
    tcdrain(STDOUT_FILENO); // nothing of this is left in the port when the next program starts
}

static void measure(char **words)
{
    char line[32];
    int status = 0, output = memfd_create("output", MFD_CLOEXEC);
    expect(output >= 0, "memory for the output");
    snprintf(line, sizeof(line), "@B %.3s\n", words[0]);
    say(line);
    pid_t child = fork();
    if (child == 0)
        run_program(words + 1, output);
    expect(child > 0 && waitpid(child, &status, 0) == child, "fork");
    snprintf(line, sizeof(line), "@E %.3s %d\n", words[0],
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    say(line);
    report_output(words[0], output);
    close(output);
}

int main(int argc, char **argv)
{
    char *line = NULL, *words[WORDS + 1];
    size_t space = 0;
    if (getpid() == 1)
        become_init();
    say("@I\n");
    FILE *list = fopen(argc > 1 ? argv[1] : "list", "re");
    // Without a list only the boot is measured: the host looks at this machine and then ends it.
    while (list == NULL && getpid() == 1)
        pause();
    expect(list != NULL, "the list of programs");
    while (getline(&line, &space, list) > 0) {
        int n = 0;
        for (char *word = strtok(line, "\t\n"); word && n < WORDS; word = strtok(NULL, "\t\n"))
            words[n++] = word;
        words[n] = NULL;
        if (n > 1)
            measure(words);
    }
    say("@Q\n");
    if (getpid() == 1) {
        tcdrain(STDOUT_FILENO);
        reboot(RB_POWER_OFF);
    }
    return 0;
}
