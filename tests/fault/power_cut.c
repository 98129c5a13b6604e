/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the power from a mounted ext4: nothing that is not on its disk yet gets there any more, and every
 * call on it fails from now on.
 *
 *   power_cut DIR           DIR is any directory of it, in practice the mount point
 *
 * Ends with 0 when it is done, 1 when it cannot be done (not root, no ext4), 2 for wrong usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Linux, fs/ext4/ext4.h; ext4 has no header for programs. Not even the journal is flushed before. */
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define EXT4_GOING_FLAGS_NOLOGFLUSH UINT32_C(2)

int main(int argc, char **argv)
{
    uint32_t how = EXT4_GOING_FLAGS_NOLOGFLUSH;

    if (argc != 2) {
        fprintf(stderr, "usage: power_cut DIR\n");
        return 2;
    }
    int directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || ioctl(directory, EXT4_IOC_SHUTDOWN, &how) < 0) {
        fprintf(stderr, "power_cut: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    close(directory);
    return 0;
}
