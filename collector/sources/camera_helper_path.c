/* SPDX-License-Identifier: Apache-2.0 */
/* Where the helper program patrol-photo is; see camera_file.h. */
#include "base/helper_program.h"
#include "collector/sources/camera_file.h"

char *camera_helper_path(void)
{
    /* Beside it, then as a build tree has it for collector/, for tests/unit/collector/. */
    static const char *const places[] = {
        "patrol-photo",
        "photo/patrol-photo",
        "../collector/photo/patrol-photo",
        "../../collector/photo/patrol-photo",
        NULL,
    };
    return helper_program_path(&(struct helper_program){.name = "patrol-photo",
        .environment = "PATROL_PHOTO_HELPER",
        .places = places,
        .installed = PATROL_LIBEXECDIR});
}
