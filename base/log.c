/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the log lines of the programs: level, prefix, one line and one write a message. Called by shells only.
 * Must not know who reads them.
 */
#include "base/log.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

/* A longer message is cut: a log line is a sentence, not a document. */
#define LOG_LINE_MAX 2048u

/* The one mutable global of the project: how loudly it speaks, and under which name. Set at start. */
static struct {
    const char *program;
    bool journal;
    atomic_int level;
} log_state = {.program = "gridpatrol", .level = LOG_LEVEL_INFO};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_state.level, (int)level, memory_order_relaxed);
}

void log_start(const char *program)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"err", LOG_LEVEL_ERR},
        {"warning", LOG_LEVEL_WARNING},
        {"info", LOG_LEVEL_INFO},
        {"debug", LOG_LEVEL_DEBUG},
    };
    const char *wanted = getenv("GRIDPATROL_LOG");

    log_state.program = program;
    log_state.journal = getenv("JOURNAL_STREAM") != NULL;
    for (size_t i = 0; wanted && i < ARRAY_LEN(levels); i++)
        if (strcmp(wanted, levels[i].name) == 0)
            log_set_level(levels[i].level);
}

static void write_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDERR_FILENO, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* Nobody reads the log; there is nowhere to say so. */
        data += written;
        len -= (size_t)written;
    }
}

void log_message(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    int saved_errno = errno;
    va_list arguments;

    if ((int)level > atomic_load_explicit(&log_state.level, memory_order_relaxed))
        return;

    int prefix_len = log_state.journal ? snprintf(line, sizeof(line), "<%d>", (int)level)
                                       : snprintf(line, sizeof(line), "%s: ", log_state.program);
    /* One byte is kept back for the line's end. */
    size_t room = sizeof(line) - 1;
    size_t at = prefix_len < 0 ? 0 : (size_t)prefix_len;
    if (at >= room)
        at = 0;

    va_start(arguments, format);
    int text_len = vsnprintf(line + at, room - at, format, arguments);
    va_end(arguments);
    if (text_len < 0)
        line[at] = '\0';
    text_make_one_line(line);

    size_t len = strlen(line);
    line[len++] = '\n';
    write_all(line, len);
    errno = saved_errno;
}
