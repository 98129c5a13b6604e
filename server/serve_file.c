/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DATA/serve.conf: written by `serve` once it can be connected to, read by `token`. It outlives the serve
 * that wrote it: a token made while the server is down is for the address that it had.
 */
#include "base/files.h"
#include "server/commands.h"

#include <errno.h>
#include <inttypes.h>

static const struct config_row rows[] = {
    {"serve", "url", CONFIG_TEXT, offsetof(struct serve_file, url), 0, URL_BYTES_MAX, NULL, "Public URL."},
    {"serve", "ca_sha256", CONFIG_TEXT, offsetof(struct serve_file, ca_sha256), 0, SHA256_TEXT_LEN, NULL,
        "SHA-256 of the CA's DER."},
    {"serve", "pid", CONFIG_UNSIGNED, offsetof(struct serve_file, pid), 0, UINT32_MAX, "0", "Process."},
};

int serve_file_write(const char *directory, const struct serve_file *file)
{
    _cleanup_free_ char *path = files_join(directory, "serve.conf");
    _cleanup_buffer_ struct buffer text = {0};

    buffer_printf(
        &text, "# Written by patrol-server serve at its start; read by patrol-server token.\n[serve]\n");
    buffer_printf(&text, "url = %s\n", file->url);
    if (file->ca_sha256)
        buffer_printf(&text, "ca_sha256 = %s\n", file->ca_sha256);
    buffer_printf(&text, "pid = %" PRIu64 "\n", file->pid);
    if (!path || buffer_finish(&text) < 0)
        return -ENOMEM;
    return files_replace(world_posix(), path, buffer_bytes(&text), false);
}

int serve_file_read(const char *directory, struct serve_file *ret, char **ret_error)
{
    _cleanup_free_ char *path = files_join(directory, "serve.conf");
    struct serve_file file = {0};

    if (!path)
        return -ENOMEM;
    int r = config_set_defaults(rows, ARRAY_LEN(rows), &file);
    if (r >= 0)
        r = config_read(rows, ARRAY_LEN(rows), path, &file, ret_error);
    if (r >= 0 && !file.url) {
        r = asprintf(ret_error, "%s: no url: start patrol-server serve again", path) < 0 ? -ENOMEM : -EINVAL;
    }
    if (r < 0) {
        serve_file_done(&file);
        return r;
    }
    *ret = file;
    return 0;
}

void serve_file_done(struct serve_file *file)
{
    config_free(rows, ARRAY_LEN(rows), file);
}
