/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three things that are wanted from EXIF, through libexif: which way is up, when, where. Read only;
 * whatever is missing, malformed or impossible is left out, and never an error. Called by photo.c alone.
 */
#pragma once

#include "base/bytes.h"
#include "collector/photo/answer.h"

/*
 * `exif` is the TIFF structure, with or without "Exif\0\0" before it; empty is fine. Sets orientation,
 * exif_time and the position in *facts, which holds the defaults (1, "", none) before. Latitude and longitude
 * of exactly zero are what cameras write that had no fix: no position.
 */
void exif_read(struct bytes exif, struct photo_facts *facts);
