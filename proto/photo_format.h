/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The picture formats that a photo may have. The numbers are the schema's. Pure; alone in a file because the
 * photo helper, which knows no records, shares it.
 */
#pragma once

enum photo_format { PHOTO_JPEG = 0, PHOTO_PNG = 1 };
