/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patrol-transport: speaks HTTPS with the centre for patrol-syncd, over the socket that is its standard
 * input.
 *
 * Started by patrol-syncd (syncd/transport_worker.c) when something is to be sent, and ended by it when
 * nothing was for a while. It is a program of its own so that libcurl and OpenSSL take no memory while
 * nothing is sent, and so that whoever gets the better of them holds neither the device's key nor the
 * records. It knows no paths, no database, no configuration, no key.
 */
#include "syncd/transport/sandbox.h"
#include "syncd/transport/serve.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void)
{
    /* The daemon's end closes its socket. This is for a socket that is not looked at for whatever reason. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* from a terminal: it is the daemon that ends first */
    if (sandbox_enter() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return EXIT_FAILURE;
    int r = transport_serve(STDIN_FILENO);
    curl_global_cleanup();
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
