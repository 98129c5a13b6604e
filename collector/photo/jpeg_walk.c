/* SPDX-License-Identifier: Apache-2.0 */
/* The marker structure of a JPEG file; see jpeg_walk.h. */
#include "collector/photo/jpeg_walk.h"

/* Markers, by their second byte (T.81, table B.1). */
enum {
    MARKER_TEM = 0x01,
    MARKER_SOF0 = 0xc0, /* baseline */
    MARKER_SOF1 = 0xc1, /* extended sequential */
    MARKER_SOF2 = 0xc2, /* progressive */
    MARKER_DHT = 0xc4,
    MARKER_JPG = 0xc8,
    MARKER_SOF9 = 0xc9,  /* extended sequential, arithmetic coding */
    MARKER_SOF10 = 0xca, /* progressive, arithmetic coding */
    MARKER_DAC = 0xcc,
    MARKER_SOF15 = 0xcf,
    MARKER_RST0 = 0xd0,
    MARKER_RST7 = 0xd7,
    MARKER_SOI = 0xd8,
    MARKER_EOI = 0xd9,
    MARKER_SOS = 0xda,
    MARKER_APP1 = 0xe1,
};

#define JPEG_COMPONENTS_MAX 4u
#define JPEG_SAMPLING_MAX 4u
#define DCT_BLOCK_BYTES 128u /* 64 coefficients of two bytes */

struct walk_state {
    struct jpeg_walk found;
    bool frame_seen;
    bool progressive;
    unsigned scans;
};

static bool is_frame(uint8_t marker)
{
    return marker >= MARKER_SOF0 && marker <= MARKER_SOF15 && marker != MARKER_DHT && marker != MARKER_JPG &&
           marker != MARKER_DAC;
}

static bool stands_alone(uint8_t marker)
{
    return marker == MARKER_TEM || marker == MARKER_SOI || (marker >= MARKER_RST0 && marker <= MARKER_RST7);
}

static uint32_t u16be(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Of all components together, with the padding to whole MCUs that the decoder allocates. */
static uint64_t coefficient_bytes(const uint8_t *component, size_t count, uint32_t width, uint32_t height)
{
    uint32_t across_max = 1;
    uint32_t down_max = 1;
    uint64_t blocks_per_mcu = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t across = component[3 * i + 1] >> 4;
        uint32_t down = component[3 * i + 1] & 15;
        across_max = across > across_max ? across : across_max;
        down_max = down > down_max ? down : down_max;
        blocks_per_mcu += (uint64_t)across * down;
    }
    uint64_t mcus = (uint64_t)((width + 8 * across_max - 1) / (8 * across_max)) *
                    ((height + 8 * down_max - 1) / (8 * down_max));
    return mcus * blocks_per_mcu * DCT_BLOCK_BYTES;
}

/* Frame header (T.81, B.2.2): precision, height, width, count, then three bytes a component (id, sampling,
 * table). */
static enum photo_verdict read_frame(struct walk_state *state, uint8_t marker, struct bytes body)
{
    if (state->frame_seen || body.len < 6)
        return PHOTO_DAMAGED;
    state->frame_seen = true;
    state->progressive = marker == MARKER_SOF2 || marker == MARKER_SOF10;
    bool sequential = marker == MARKER_SOF0 || marker == MARKER_SOF1 || marker == MARKER_SOF9;
    if ((!state->progressive && !sequential) || body.data[0] != 8)
        return PHOTO_UNSUPPORTED;

    struct jpeg_walk *found = &state->found;
    found->height = u16be(body.data + 1);
    found->width = u16be(body.data + 3);
    found->components = body.data[5];
    size_t count = found->components;
    if (found->width == 0 || found->height == 0 || count == 0 || body.len != 6 + 3 * count)
        return PHOTO_DAMAGED;
    if (count == 2 || count > JPEG_COMPONENTS_MAX)
        return PHOTO_UNSUPPORTED;
    for (size_t i = 0; i < count; i++) {
        uint8_t sampling = body.data[6 + 3 * i + 1];
        if (sampling >> 4 == 0 || sampling >> 4 > JPEG_SAMPLING_MAX || (sampling & 15) == 0 ||
            (sampling & 15) > JPEG_SAMPLING_MAX)
            return PHOTO_DAMAGED;
    }
    found->coefficient_bytes = coefficient_bytes(body.data + 6, count, found->width, found->height);
    return PHOTO_GOOD;
}

/* Whether the whole picture comes in this one scan decides if the decoder can work row by row. */
static enum photo_verdict read_scan(struct walk_state *state, struct bytes body)
{
    if (!state->frame_seen || body.len < 1)
        return PHOTO_DAMAGED;
    if (state->scans++ == 0 && !state->progressive && body.data[0] == state->found.components)
        state->found.coefficient_bytes = 0;
    return PHOTO_GOOD;
}

static enum photo_verdict read_segment(struct walk_state *state, uint8_t marker, struct bytes body)
{
    static const char exif_intro[6] = "Exif\0";
    if (is_frame(marker))
        return read_frame(state, marker, body);
    if (marker == MARKER_SOS)
        return read_scan(state, body);
    if (marker == MARKER_APP1 && state->found.exif.len == 0 && body.len > sizeof(exif_intro) &&
        memcmp(body.data, exif_intro, sizeof(exif_intro)) == 0)
        state->found.exif = body;
    return PHOTO_GOOD;
}

/*
 * Where the next marker's second byte is, or file.len if there is none. Between segments as within picture
 * data, 0xff 0x00 is no marker, 0xff may be repeated as a fill byte, and other bytes are passed over: picture
 * data, or a camera's litter.
 */
static size_t next_marker(struct bytes file, size_t at)
{
    while (at < file.len) {
        const uint8_t *ff = memchr(file.data + at, 0xff, file.len - at);
        if (!ff)
            return file.len;
        at = (size_t)(ff - file.data) + 1;
        while (at < file.len && file.data[at] == 0xff)
            at++;
        if (at < file.len && file.data[at] != 0)
            return at;
    }
    return file.len;
}

enum photo_verdict jpeg_walk(struct bytes file, struct jpeg_walk *ret)
{
    struct walk_state state = {0};
    for (size_t at = next_marker(file, 2); at < file.len; at = next_marker(file, at)) {
        uint8_t marker = file.data[at++];
        if (marker == MARKER_EOI) {
            if (state.scans == 0)
                return PHOTO_DAMAGED;
            state.found.len = at;
            *ret = state.found;
            return PHOTO_GOOD;
        }
        if (stands_alone(marker))
            continue;
        if (file.len - at < 2)
            return PHOTO_TRUNCATED;
        size_t len = u16be(file.data + at);
        if (len < 2)
            return PHOTO_DAMAGED;
        if (file.len - at < len)
            return PHOTO_TRUNCATED;
        enum photo_verdict verdict = read_segment(&state, marker, bytes_of(file.data + at + 2, len - 2));
        if (verdict != PHOTO_GOOD)
            return verdict;
        at += len;
    }
    return PHOTO_TRUNCATED;
}
