/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the bell that wakes the daemon: one datagram on DATA/doorbell.sock. Called by the collector after a
 * record is durable. It carries nothing and may be lost: the daemon looks by itself from time to time.
 */
#include "store/enrolment_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

void doorbell_ring(const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int bell = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Through /proc, as a socket's address has room for short paths only. */
    _cleanup_close_ int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (bell < 0 || at < 0)
        return;
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/doorbell.sock", at);
    (void)sendto(
        bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address, sizeof(address));
}
