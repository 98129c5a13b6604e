/* SPDX-License-Identifier: Apache-2.0 */
/* Where the helper program patrol-photo is; see camera_file.h. */
#include "collector/sources/camera_file.h"

#include <limits.h>
#include <string.h>

/* From the directory of the running program: beside it, then as a build tree has it for collector/, for
 * tests/unit/collector/. */
static const char *const places[] = {
    "patrol-photo",
    "photo/patrol-photo",
    "../collector/photo/patrol-photo",
    "../../collector/photo/patrol-photo",
};

static char *beside_program(void)
{
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len <= 0)
        return NULL;
    program[len] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return NULL;
    slash[1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char *path;
        if (asprintf(&path, "%s%s", program, places[i]) < 0)
            return NULL;
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

char *camera_helper_path(void)
{
    const char *chosen = secure_getenv("PATROL_PHOTO_HELPER");
    if (chosen && chosen[0] != '\0')
        return strdup(chosen);
    char *path = beside_program();
    return path ? path : strdup(PATROL_LIBEXECDIR "/patrol-photo");
}
