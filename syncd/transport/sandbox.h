/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What patrol-transport takes from itself before it talks to anybody. It is left with sockets of the
 * internet, threads (names are resolved in one), reading what a resolver and OpenSSL read, and the socket it
 * was given. It may not start programs or processes, signal or look into others, write, make, rename or
 * delete files, nor open local sockets, the daemon's control socket among them. Where the kernel has Landlock
 * it may not even read outside of the system's own directories.
 *
 * Whatever is not named there is allowed: name service modules are anybody's code. Built with
 * TRANSPORT_SANDBOX_LIGHT (sanitizers, coverage), only new privileges are refused.
 */
#pragma once

/* 0, or -errno when something that is not optional could not be given up. */
int sandbox_enter(void);
