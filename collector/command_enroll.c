/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol enroll`, `server-url` and `categories`.
 */
#include "base/files.h"
#include "collector/commands.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>

/* The daemon's program: as set, beside this one (or beside it in the build tree), or found in PATH. */
static void daemon_path(const struct program *program, char ret[PATH_MAX])
{
    static const char *const beside[] = {"patrol-syncd", "../sbin/patrol-syncd", "../syncd/patrol-syncd"};
    if (program->settings.daemon && program->settings.daemon[0]) {
        snprintf(ret, PATH_MAX, "%s", program->settings.daemon);
        return;
    }
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < ARRAY_LEN(beside); i++) {
        int r = snprintf(ret, PATH_MAX, "%.*s/%s", (int)(slash - self), self, beside[i]);
        if (r > 0 && r < PATH_MAX && access(ret, X_OK) == 0)
            return;
    }
    snprintf(ret, PATH_MAX, "patrol-syncd");
}

enum exit_status command_enroll(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    char path[PATH_MAX];
    daemon_path(program, path);
    char *const argv[] = {path, (char[]){"--enroll"}, strdupa(arguments[0]), (char[]){"--data"},
        strdupa(program->directory), program->options.replace ? (char[]){"--replace"} : NULL, NULL};
    execvp(path, argv);
    return complain(
        EXIT_STATUS_FAILED, "%s cannot be started: %s; is patrol-syncd installed?", path, strerror(errno));
}

enum exit_status command_server_url(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    char url[URL_BYTES_MAX];
    const char *reason = "not a URL";
    if (server_url_parse(arguments[0], url, &reason) < 0)
        return complain(EXIT_STATUS_REFUSED, "URL: %s", reason);
    enum exit_status status = program_need_enrolment(program, EXIT_STATUS_FAILED);
    if (status != EXIT_STATUS_DONE)
        return status;
    char *fresh = strdup(url);
    if (!fresh)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    free(program->enrolment.server_url);
    program->enrolment.server_url = fresh;
    int r = enrolment_write(program->world, program->directory, &program->enrolment);
    if (r < 0)
        return complain_store(program, r, "keep the URL");
    doorbell_ring(program->directory);
    printf("records go to %s from now on, those still here included\n", url);
    return EXIT_STATUS_DONE;
}

static enum exit_status print_entry(
    const struct directory *directory, const struct directory_entry *entry, bool json)
{
    if (!json) {
        printf("%-9s  %-6s  %s  %s\n", category_kind_name(entry->kind), entry->code, entry->name_zh,
            entry->name_en);
        return EXIT_STATUS_DONE;
    }
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "scheme", directory->scheme,
        "version", directory->version, "kind", category_kind_name(entry->kind), "code", entry->code,
        "name_zh", entry->name_zh, "name_en", entry->name_en, "major_zh", entry->major_zh, "major_en",
        entry->major_en);
    return print_json_object(object);
}

enum exit_status command_categories(struct program *program, const char *const *arguments, size_t count)
{
    const struct directory *directory = program_categories(program);
    const char *kind = program->options.kind;
    if (kind && strcmp(kind, category_kind_name(CATEGORY_MATTER)) != 0 &&
        strcmp(kind, category_kind_name(CATEGORY_COMPONENT)) != 0)
        return complain(EXIT_STATUS_REFUSED, "kind: unknown \"%.40s\"; use matter or component", kind);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    _cleanup_free_ const struct directory_entry **found = calloc(directory->count, sizeof(*found));
    if (!found)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    size_t matches = directory_search(directory, count > 0 ? arguments[0] : "", found, directory->count);
    size_t shown = 0;
    for (size_t i = 0; i < matches; i++) {
        if (kind && strcmp(kind, category_kind_name(found[i]->kind)) != 0)
            continue;
        shown++;
        enum exit_status status = print_entry(directory, found[i], program->options.json);
        if (status != EXIT_STATUS_DONE)
            return status;
    }
    if (shown == 0)
        return complain(EXIT_STATUS_FAILED, "no category matches \"%.60s\"; try a part of its name",
            count > 0 ? arguments[0] : "");
    return EXIT_STATUS_DONE;
}
