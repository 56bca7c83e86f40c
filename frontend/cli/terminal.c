/* SPDX-License-Identifier: MIT */
#include "frontend/cli/terminal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "machine/machine.h"

enum { CTRL_A = 1, SCREEN_SIZE = 65536 };

void terminal_open(struct terminal *terminal)
{
    struct termios raw;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &terminal->saved))
        return;
    raw = terminal->saved;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST; /* our own messages need their carriage returns */
    terminal->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void terminal_close(struct terminal *terminal)
{
    if (terminal->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal->saved);
    terminal->raw = false;
}

static void show(const char *text)
{
    for (size_t left = strlen(text); left;) {
        ssize_t n = write(STDOUT_FILENO, text, left);

        if (n <= 0)
            return;
        text += n;
        left -= (size_t)n;
    }
}

static void show_screen(struct machine *machine)
{
    char text[SCREEN_SIZE];

    machine_text_screen(machine, text, sizeof(text));
    show("\n---- text screen ----\n");
    show(text);
    show("---------------------\n");
}

bool terminal_filter(void *opaque, u8 byte)
{
    struct terminal *terminal = opaque;

    if (!terminal->escape) {
        terminal->escape = byte == CTRL_A;
        return !terminal->escape;
    }
    terminal->escape = false;
    switch (byte) {
    case CTRL_A: return true;
    case 'x': machine_stop(terminal->machine); break;
    case 'p': machine_power_button(terminal->machine); break;
    case 's': show_screen(terminal->machine); break;
    case 'b': terminal->break_key(terminal->opaque); break;
    case 'h':
    default:
        show("\nCtrl-A h  this help\n"
             "Ctrl-A x  quit Lockstep\n"
             "Ctrl-A p  press the power button\n"
             "Ctrl-A s  show the text screen (video memory)\n"
             "Ctrl-A b  send a break on the serial line\n"
             "Ctrl-A Ctrl-A  send Ctrl-A\n");
        break;
    }
    return false;
}
