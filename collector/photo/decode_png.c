/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG through libpng, row by row into a reducer. Interlaced pictures are taken pass by pass as they lie in
 * the file, so no picture is ever held whole. Chunks that do not change the pixels are skipped without being
 * unpacked.
 */
#include "collector/photo/decode.h"

#include "base/cleanup.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>

/* Nothing that is kept of a chunk other than picture data needs more. */
#define PNG_CHUNK_BYTES_MAX ((png_alloc_size_t)1024 * 1024)
#define PNG_CHUNKS_MAX 16u
#define SIGNATURE_BYTES 8u
#define CHUNK_OVERHEAD_BYTES 12u /* length, type, checksum */
#define RGBA_BYTES 4u

/* Lives outside the function that libpng's errors jump back into, so nothing in it is lost by a jump. */
struct png_job {
    png_structp png;
    png_infop info;
    struct bytes left; /* of the file */
    bool past_end;     /* libpng asked for more than there is */
    bool no_memory;
    uint32_t width, height;
    struct reducer reducer;
    uint8_t *row;
};

static void png_job_done(struct png_job *job)
{
    if (job->png)
        png_destroy_read_struct(&job->png, &job->info, NULL);
    reducer_done(&job->reducer);
    free(job->row);
}

static void on_error(png_structp png, png_const_charp text)
{
    struct png_job *job = png_get_error_ptr(png);
    if (strstr(text, "memory"))
        job->no_memory = true;
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    /* Warnings are about chunks that do not change the pixels. */
}

static void on_read(png_structp png, png_bytep to, size_t len)
{
    struct png_job *job = png_get_io_ptr(png);
    if (len > job->left.len) {
        job->past_end = true;
        png_error(png, "end of file");
    }
    memcpy(to, job->left.data, len);
    job->left = bytes_of(job->left.data + len, job->left.len - len);
}

static bool job_init(struct png_job *job)
{
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    return job->info;
}

/* Seven pictures in one, each with every so many columns of every so many rows; passes without a pixel are
 * not in the file. */
static void read_interlaced(struct png_job *job)
{
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; pass++) {
        uint32_t x_first = PNG_PASS_START_COL(pass);
        uint32_t x_step = PNG_PASS_COL_OFFSET(pass);
        uint32_t y_step = PNG_PASS_ROW_OFFSET(pass);
        if (x_first >= job->width)
            continue;
        for (uint32_t y = PNG_PASS_START_ROW(pass); y < job->height; y += y_step) {
            png_read_row(job->png, job->row, NULL);
            reducer_put_row(&job->reducer, y, x_first, x_step, job->row);
        }
    }
}

/* Every colour type and depth becomes 8-bit RGBA. */
static void ask_for_rgba(png_structp png)
{
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
}

/* False when libpng refused the file, or memory ran out. */
static bool read_png(struct png_job *job)
{
    if (setjmp(png_jmpbuf(job->png)))
        return false;
    png_set_read_fn(job->png, job, on_read);
    png_set_user_limits(job->png, PHOTO_SIDE_MAX, PHOTO_SIDE_MAX);
    png_set_chunk_malloc_max(job->png, PNG_CHUNK_BYTES_MAX);
    png_set_chunk_cache_max(job->png, PNG_CHUNKS_MAX);
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(job->png, job->info);
    ask_for_rgba(job->png);
    png_read_update_info(job->png, job->info);
    if (png_get_rowbytes(job->png, job->info) != (size_t)job->width * RGBA_BYTES)
        return false;
    if (png_get_interlace_type(job->png, job->info) == PNG_INTERLACE_ADAM7) {
        read_interlaced(job);
    } else {
        for (uint32_t y = 0; y < job->height; y++) {
            png_read_row(job->png, job->row, NULL);
            reducer_put_row(&job->reducer, y, 0, 1, job->row);
        }
    }
    png_read_end(job->png, NULL);
    return true;
}

static uint32_t u32be(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The eXIf chunk of a file that libpng has found to be whole: a bare TIFF structure. */
static struct bytes find_exif(struct bytes file)
{
    size_t at = SIGNATURE_BYTES;
    while (file.len - at >= CHUNK_OVERHEAD_BYTES) {
        size_t len = u32be(file.data + at);
        if (len > file.len - at - CHUNK_OVERHEAD_BYTES)
            break;
        if (memcmp(file.data + at + 4, "eXIf", 4) == 0)
            return bytes_of(file.data + at + 8, len);
        at += len + CHUNK_OVERHEAD_BYTES;
    }
    return (struct bytes){0};
}

/* Sides from the header chunk, which must come first, before anything is allocated by them. */
static enum photo_verdict read_sides(struct bytes file, struct png_job *job)
{
    if (file.len < SIGNATURE_BYTES + 16)
        return PHOTO_TRUNCATED;
    job->width = u32be(file.data + SIGNATURE_BYTES + 8);
    job->height = u32be(file.data + SIGNATURE_BYTES + 12);
    if (memcmp(file.data + SIGNATURE_BYTES + 4, "IHDR", 4) != 0 || job->width == 0 || job->height == 0)
        return PHOTO_DAMAGED;
    if (job->width > PHOTO_SIDE_MAX || job->height > PHOTO_SIDE_MAX ||
        (uint64_t)job->width * job->height > PHOTO_PIXELS_MAX)
        return PHOTO_TOO_MANY_PIXELS;
    return PHOTO_GOOD;
}

int decode_png(struct bytes file, struct decoded *ret, enum photo_verdict *ret_verdict)
{
    _cleanup_(png_job_done) struct png_job job = {.left = file};
    enum photo_verdict verdict = read_sides(file, &job);
    if (verdict != PHOTO_GOOD) {
        *ret_verdict = verdict;
        return 0;
    }
    job.row = calloc(job.width, RGBA_BYTES);
    int r = reducer_init(&job.reducer, job.width, job.height, PHOTO_PREVIEW_SIDE_MAX);
    if (r < 0 || !job.row || !job_init(&job))
        return -ENOMEM;
    if (!read_png(&job)) {
        if (job.no_memory)
            return -ENOMEM;
        *ret_verdict = job.past_end ? PHOTO_TRUNCATED : PHOTO_DAMAGED;
        return 0;
    }
    struct raster small;
    reducer_take(&job.reducer, &small);
    *ret =
        (struct decoded){.width = job.width, .height = job.height, .small = small, .exif = find_exif(file)};
    *ret_verdict = PHOTO_GOOD;
    return 0;
}
