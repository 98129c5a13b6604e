/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side of the socket: carries out what patrol-syncd asks for (message.h) with libcurl, and ends
 * when the socket does, or when what comes over it is no message. Called by main.c; knows no policy.
 */
#pragma once

/* Returns 0 when the other end closed the socket, else -errno. `fd` is borrowed. */
int transport_serve(int fd);
