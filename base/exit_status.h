/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exit status of every gridpatrol program: stable, others script it.
 */
#pragma once

enum exit_status {
    EXIT_STATUS_DONE = 0,
    EXIT_STATUS_FAILED = 1,
    EXIT_STATUS_USAGE = 2,    /* wrong usage of the command line or the configuration */
    EXIT_STATUS_REFUSED = 3,  /* refused for bad input: the message names the field and the fix */
    EXIT_STATUS_NO_SPACE = 4, /* the disk or a quota is full; nothing half-written */
    EXIT_STATUS_NOT_ENROLLED =
        5, /* not enrolled, or the credential was refused (enroll, sync, resync only) */
};
