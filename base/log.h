/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines of the programs' shells. One line a message on standard error; with the journal's "<N>" priority
 * prefix when JOURNAL_STREAM is set. Libraries and cores never log.
 *
 * err: data at risk. warning: something failed and the program went on. info: a state changed. debug: for
 * developers. A message says what, which id, what happens next; never record contents, never keys.
 */
#pragma once

#include "base/cleanup.h"

enum log_level { LOG_LEVEL_ERR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Starts logging under a program's name, which must outlive the process. Level from the environment
 * GRIDPATROL_LOG (err|warning|info|debug), default info. */
void log_start(const char *program);
void log_set_level(enum log_level level);
void log_message(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_err(...) log_message(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)
