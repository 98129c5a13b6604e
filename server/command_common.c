/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What several commands of patrol-server do alike: messages, exit statuses, opening the service, naming a
 * device.
 */
#include "base/command_line.h"
#include "server/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#define DURATION_MS_MAX (UINT64_C(366) * 24 * 3600 * 1000)

int command_fail(int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    command_line_complain(SERVER_PROGRAM, format, arguments);
    va_end(arguments);
    return status;
}

int command_status_of(int error)
{
    if (error == 0)
        return EXIT_STATUS_DONE;
    if (error == -ENOSPC || error == -EDQUOT)
        return EXIT_STATUS_NO_SPACE;
    if (error == -EINVAL)
        return EXIT_STATUS_REFUSED;
    return EXIT_STATUS_FAILED;
}

const char *command_advice_of(int error)
{
    if (error == -EACCES || error == -EPERM)
        return "; run it as root, or as the user of patrol-server serve";
    if (error == -EROFS)
        return "; is it on a disk that may only be read?";
    return "";
}

int command_open(
    const struct command_run *run, enum command_access access, struct bytes ca_pem, struct service **ret)
{
    _cleanup_free_ char *error = NULL;
    const struct service_options options = {
        .world = world_posix(),
        .directory = run->directory,
        .authority = run->config.authority,
        .tenant = run->config.tenant,
        .ca_pem = ca_pem,
        .read_only = access == COMMAND_READS,
        .must_exist = access != COMMAND_SERVES,
    };

    int r = service_open(&options, ret, &error);
    if (r == -ENOENT && access != COMMAND_SERVES)
        return command_fail(EXIT_STATUS_FAILED,
            "%s: no server's data there; give --data DIR, or start patrol-server serve first",
            run->directory);
    if (r < 0)
        return command_fail(command_status_of(r), "%s%s", error ? error : strerror(-r), command_advice_of(r));
    return EXIT_STATUS_DONE;
}

int command_parse_duration(const char *text, uint64_t min_ms, uint64_t *ret_ms)
{
    struct {
        uint64_t ms;
    } target = {0};
    const struct config_row row = {
        "option", "duration", CONFIG_DURATION, 0, min_ms, DURATION_MS_MAX, NULL, NULL};
    _cleanup_free_ char *line = NULL;
    _cleanup_free_ char *error = NULL;

    if (strpbrk(text, "\r\n#;"))
        return -EINVAL;
    if (asprintf(&line, "[option]\nduration = %s\n", text) < 0)
        return -ENOMEM;
    int r = config_parse(&row, 1, "duration", bytes_of_text(line), &target, &error);
    if (r < 0)
        return r;
    *ret_ms = target.ms;
    return 0;
}

struct device_search {
    char prefix[UUID_TEXT_LEN + 1];
    size_t len;
    struct uuid found;
    uint64_t count;
};

static int compare_device(void *user, const struct service_device *device)
{
    struct device_search *search = user;
    char text[UUID_TEXT_LEN + 1];

    text_uuid(device->id.b, text);
    if (strncmp(text, search->prefix, search->len) == 0) {
        search->found = device->id;
        search->count++;
    }
    return 0;
}

int command_find_device(struct service *service, const char *text, struct uuid *ret)
{
    struct device_search search = {.len = strlen(text)};

    if (search.len == 0 || search.len > UUID_TEXT_LEN ||
        strspn(text, "0123456789abcdefABCDEF-") != search.len)
        return command_fail(
            EXIT_STATUS_REFUSED, "device: not an id: %.40s; patrol-server devices lists them", text);
    for (size_t i = 0; i < search.len; i++)
        search.prefix[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 'a' : text[i]);
    int r = service_each_device(service, compare_device, &search);
    if (r < 0)
        return command_fail(command_status_of(r), "the devices could not be read: %s", strerror(-r));
    if (search.count == 0)
        return command_fail(
            EXIT_STATUS_REFUSED, "device: none begins with %s; patrol-server devices lists them", text);
    if (search.count > 1)
        return command_fail(EXIT_STATUS_REFUSED, "device: %" PRIu64 " begin with %s; give more of the id",
            search.count, text);
    *ret = search.found;
    return EXIT_STATUS_DONE;
}
