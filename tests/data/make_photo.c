/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a photo to test and demonstrate with: a street under a cloudy sky, houses, road, pavement with a
 * damaged strip of tactile paving, cars and refuse sacks, with the grain of a small sensor, as a JPEG. Every
 * seed gives another street; the same arguments give the same picture. At the default size and quality a file
 * has the size of a handheld's: 300 to 500 KB.
 *
 * Called by hand, by scripts/demo and by tests. Knows nothing of the project.
 */
#include "base/cleanup.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include <turbojpeg.h>

#define SIDE_MIN_PX 16
#define SIDE_MAX_PX 8192
#define HOUSES_MAX 24
#define THINGS_MAX 12

struct options {
    int width, height, quality;
    uint64_t seed;
    const char *output;
};

struct colour {
    float red, green, blue; /* 0 to 1 */
};

struct house {
    float left, right, roof; /* in units of the picture's height */
    struct colour wall;
    float window_width, window_height;
    uint32_t salt;
};

enum thing_kind { THING_CAR, THING_SACK, THING_POLE };

struct thing {
    enum thing_kind kind;
    float x, foot, size; /* in units of the picture's height */
    struct colour paint;
};

struct scene {
    uint64_t seed;
    float aspect, horizon, vanishing_x, road_half_width, light;
    struct colour sky;
    struct house houses[HOUSES_MAX];
    size_t house_count;
    struct thing things[THINGS_MAX];
    size_t thing_count;
};

/* ---- random, noise, colour ---- */

static uint64_t mix(uint64_t value)
{
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* 0 to 1, always the same for the same place. A few instructions, as it is called a hundred times for a
 * pixel. */
static float hash_at(uint64_t seed, int x, int y)
{
    uint32_t hash = (uint32_t)seed + (uint32_t)x * 0x9e3779b1u + (uint32_t)y * 0x85ebca77u;

    hash = (hash ^ (hash >> 15)) * 0x2c1b3c6du;
    hash = (hash ^ (hash >> 12)) * 0x297a2d39u;
    return (float)((hash ^ (hash >> 15)) >> 8) / 16777216.0f;
}

/* floorf() is a call on a plain x86-64; all that is floored here fits an int. */
static float floor_of(float value)
{
    const float cut = (float)(int)value;

    return cut > value ? cut - 1 : cut;
}

static float draw(uint64_t *state, float low, float high)
{
    *state = mix(*state);
    return low + (high - low) * ((float)(*state >> 40) / 16777216.0f);
}

static float smooth_noise(uint64_t seed, float x, float y)
{
    const float left = floor_of(x), top = floor_of(y);
    const float across = x - left, down = y - top;
    const float across_smooth = across * across * (3 - 2 * across),
                down_smooth = down * down * (3 - 2 * down);
    const int column = (int)left, row = (int)top;
    const float upper =
        hash_at(seed, column, row) * (1 - across_smooth) + hash_at(seed, column + 1, row) * across_smooth;
    const float lower = hash_at(seed, column, row + 1) * (1 - across_smooth) +
                        hash_at(seed, column + 1, row + 1) * across_smooth;

    return upper * (1 - down_smooth) + lower * down_smooth;
}

static float clouds_noise(uint64_t seed, float x, float y)
{
    float sum = 0, weight = 0.5f;

    for (unsigned octave = 0; octave < 5; octave++) {
        sum += weight * smooth_noise(seed + octave, x, y);
        x *= 2;
        y *= 2;
        weight /= 2;
    }
    return sum;
}

static struct colour blend(struct colour a, struct colour b, float share)
{
    return (struct colour){
        a.red + (b.red - a.red) * share,
        a.green + (b.green - a.green) * share,
        a.blue + (b.blue - a.blue) * share,
    };
}

static struct colour shade(struct colour colour, float factor)
{
    return (struct colour){colour.red * factor, colour.green * factor, colour.blue * factor};
}

static struct colour grey(float value)
{
    return (struct colour){value, value, value};
}

/* ---- the scene ---- */

static void build_houses(struct scene *scene, uint64_t *state)
{
    float left = -draw(state, 0, 0.1f);

    while (left < scene->aspect && scene->house_count < HOUSES_MAX) {
        struct house *house = &scene->houses[scene->house_count++];
        const float warmth = draw(state, 0, 1), brightness = draw(state, 0.35f, 0.8f);

        house->left = left;
        house->right = left + draw(state, 0.1f, 0.32f);
        house->roof = scene->horizon * draw(state, 0.05f, 0.75f);
        house->wall =
            blend((struct colour){0.62f, 0.36f, 0.28f}, (struct colour){0.86f, 0.84f, 0.78f}, warmth);
        house->wall = shade(house->wall, brightness + 0.2f);
        house->window_width = draw(state, 0.018f, 0.035f);
        house->window_height = draw(state, 0.03f, 0.05f);
        house->salt = (uint32_t)mix(*state);
        left = house->right;
    }
}

static void put_things(struct scene *scene, uint64_t *state)
{
    const size_t count = 5 + (size_t)draw(state, 0, THINGS_MAX - 5);

    for (size_t i = 0; i < count; i++) {
        struct thing *thing = &scene->things[i];
        const float kind = draw(state, 0, 1);
        /* Farther things first, so that nearer ones cover them. */
        const float nearness = ((float)i + draw(state, 0.2f, 1)) / (float)count;

        thing->kind = kind < 0.5f ? THING_CAR : kind < 0.8f ? THING_SACK : THING_POLE;
        thing->x = draw(state, 0, scene->aspect);
        thing->foot = scene->horizon + (0.04f + 0.75f * nearness * nearness) * (1 - scene->horizon);
        thing->size = (thing->foot - scene->horizon) * (thing->kind == THING_CAR ? 0.55f : 0.3f);
        thing->paint =
            (struct colour){draw(state, 0.05f, 0.9f), draw(state, 0.05f, 0.8f), draw(state, 0.05f, 0.8f)};
        if (thing->kind == THING_SACK)
            thing->paint = shade(thing->paint, 0.2f);
    }
    scene->thing_count = count;
}

static void build_scene(struct scene *scene, uint64_t seed, float aspect)
{
    uint64_t state = mix(seed);

    *scene = (struct scene){.seed = mix(state), .aspect = aspect};
    scene->horizon = draw(&state, 0.36f, 0.48f);
    scene->vanishing_x = aspect * draw(&state, 0.25f, 0.75f);
    scene->road_half_width = draw(&state, 0.6f, 1.0f);
    scene->light = draw(&state, 0.75f, 1.1f);
    scene->sky = blend((struct colour){0.45f, 0.62f, 0.86f}, grey(0.72f), draw(&state, 0, 1));
    build_houses(scene, &state);
    put_things(scene, &state);
}

/* ---- what stands at a place of the picture; x and y in units of its height ---- */

static struct colour sky_at(const struct scene *scene, float x, float y)
{
    const float cover = clouds_noise(scene->seed, x * 4, y * 9);

    return blend(shade(scene->sky, 0.8f + 0.4f * y), grey(0.95f), fmaxf(0, (cover - 0.35f) * 1.8f));
}

static struct colour wall_at(const struct scene *scene, const struct house *house, float x, float y)
{
    const float columns = (x - house->left) / (house->window_width * 2.2f);
    const float rows = (y - house->roof) / (house->window_height * 1.9f);
    const float in_column = columns - floor_of(columns), in_row = rows - floor_of(rows);
    const float plaster = clouds_noise(scene->seed ^ house->salt, x * 60, y * 60);
    const float brick_row = y * 260;
    const float brick_column = x * 110 + (fmodf(floor_of(brick_row), 2) > 0 ? 0.5f : 0);
    const float joint =
        brick_row - floor_of(brick_row) < 0.18f || brick_column - floor_of(brick_column) < 0.1f ? 0.88f : 1;

    if (in_column > 0.3f && in_column < 0.75f && in_row > 0.35f && in_row < 0.88f) {
        const float pane = hash_at(house->salt, (int)columns, (int)rows);
        const bool frame = in_column < 0.33f || in_column > 0.72f || fabsf(in_column - 0.525f) < 0.012f;

        if (frame)
            return grey(0.85f);
        return blend(grey(0.1f + 0.2f * pane), scene->sky, 0.35f * pane * (1 - in_row));
    }
    return shade(house->wall, (0.72f + 0.5f * plaster) * joint);
}

/* Slabs, and a strip with studs that guides blind people, some of whose slabs are gone. */
static struct colour pavement_at(const struct scene *scene, float across, float along)
{
    const float slab_x = across * 9, slab_y = along * 9;
    const float in_x = slab_x - floor_of(slab_x), in_y = slab_y - floor_of(slab_y);
    const float tone = hash_at(scene->seed + 3, (int)floor_of(slab_x), (int)floor_of(slab_y));
    const float grain = clouds_noise(scene->seed + 4, across * 70, along * 70);

    if (in_x < 0.04f || in_y < 0.04f)
        return grey(0.3f);
    if (floor_of(slab_x) == floor_of(scene->road_half_width * 9) + 3) {
        const float stud_x = in_x * 5 - floor_of(in_x * 5) - 0.5f,
                    stud_y = in_y * 5 - floor_of(in_y * 5) - 0.5f;

        if (tone < 0.25f)
            return shade((struct colour){0.33f, 0.28f, 0.22f}, 0.5f + grain);
        return shade((struct colour){0.85f, 0.68f, 0.2f},
            (stud_x * stud_x + stud_y * stud_y < 0.09f ? 1.1f : 0.8f) * (0.7f + 0.4f * grain));
    }
    return grey((0.5f + 0.12f * tone) * (0.7f + 0.5f * grain));
}

static struct colour ground_at(const struct scene *scene, float x, float y)
{
    const float depth = 0.25f / fmaxf(y - scene->horizon, 0.002f);
    const float across = (x - scene->vanishing_x) * depth * 2, along = depth * 3;
    float grain, patch;

    if (fabsf(across) > scene->road_half_width)
        return pavement_at(scene, fabsf(across), along);
    grain = clouds_noise(scene->seed + 1, across * 40, along * 40);
    if (fabsf(across) > scene->road_half_width - 0.05f)
        return grey(0.55f + 0.25f * grain);
    if (fabsf(across) < 0.025f && along - floor_of(along) < 0.55f)
        return grey(0.65f + 0.3f * grain);
    patch = clouds_noise(scene->seed + 2, across * 2, along * 2);
    return grey((0.2f + 0.2f * patch) * (0.6f + 0.8f * grain));
}

static bool car_at(const struct thing *car, float x, float y, struct colour *ret)
{
    const float across = (x - car->x) / car->size, up = (car->foot - y) / car->size;
    const float wheel = fabsf(fabsf(across) - 0.55f);

    if (wheel * wheel + (up - 0.12f) * (up - 0.12f) < 0.0225f)
        *ret = grey(wheel * wheel + (up - 0.12f) * (up - 0.12f) < 0.006f ? 0.5f : 0.06f);
    else if (fabsf(across) < 0.9f && up > 0.12f && up < 0.42f)
        *ret = shade(car->paint, 0.75f + 0.8f * (up - 0.12f));
    else if (up >= 0.42f && up < 0.72f && fabsf(across) < 0.62f - 0.6f * (up - 0.42f))
        *ret = up > 0.68f || fabsf(across) < 0.02f ? car->paint : grey(0.15f + 0.3f * (up - 0.42f));
    else
        return false;
    return true;
}

static bool sack_at(const struct scene *scene, const struct thing *sack, float x, float y, struct colour *ret)
{
    const float across = (x - sack->x) / sack->size, up = (sack->foot - y) / sack->size;
    const float off_middle = across * across * 4 + (up - 0.3f) * (up - 0.3f) * 6;
    float crease;

    if (up < 0 || off_middle > 0.8f)
        return false;
    crease = clouds_noise(scene->seed + 5, x * 90, y * 90);
    if (off_middle > 0.5f + 0.3f * crease)
        return false;
    *ret = shade(blend(sack->paint, grey(0.6f), fmaxf(0, crease - 0.4f)), 0.6f + up);
    return true;
}

static struct colour colour_at(const struct scene *scene, float x, float y)
{
    struct colour colour;

    for (size_t i = scene->thing_count; i-- > 0;) {
        const struct thing *thing = &scene->things[i];

        switch (thing->kind) {
        case THING_CAR:
            if (car_at(thing, x, y, &colour))
                return colour;
            break;
        case THING_SACK:
            if (sack_at(scene, thing, x, y, &colour))
                return colour;
            break;
        case THING_POLE:
            if (fabsf(x - thing->x) < thing->size * 0.06f && y < thing->foot &&
                y > thing->foot - thing->size * 7)
                return grey(0.35f + 3 * (x - thing->x));
            break;
        }
    }
    if (y > scene->horizon)
        return ground_at(scene, x, y);
    for (size_t i = 0; i < scene->house_count; i++) {
        const struct house *house = &scene->houses[i];

        if (x >= house->left && x < house->right && y >= house->roof)
            return wall_at(scene, house, x, y);
    }
    return sky_at(scene, x, y);
}

/* ---- the camera ---- */

static uint8_t to_sample(float value)
{
    return (uint8_t)(fminf(fmaxf(value, 0), 1) * 255.0f + 0.5f);
}

/* The grain has the same strength at any size, as pixels of a larger picture are no worse. */
static void take_picture(const struct scene *scene, int width, int height, uint8_t *rgb)
{
    const float scale = 1.0f / (float)height;

    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {
            const float x = (float)column * scale, y = (float)row * scale;
            const float off_x = x - scene->aspect / 2, off_y = y - 0.5f;
            const float light = scene->light * (1 - 0.25f * (off_x * off_x + off_y * off_y));
            const struct colour colour = shade(colour_at(scene, x, y), light);
            const float grain =
                (hash_at(scene->seed + 6, column, row) + hash_at(scene->seed + 7, column, row) - 1) * 0.035f;
            const float tint = (hash_at(scene->seed + 8, column, row) - 0.5f) * 0.02f;
            uint8_t *pixel = rgb + ((size_t)row * (size_t)width + (size_t)column) * 3;

            pixel[0] = to_sample(colour.red + grain + tint);
            pixel[1] = to_sample(colour.green + grain);
            pixel[2] = to_sample(colour.blue + grain - tint);
        }
}

static int write_file(const char *path, const uint8_t *data, size_t len)
{
    FILE *file = fopen(path, "we");
    bool written;

    if (!file)
        return -errno;
    written = fwrite(data, 1, len, file) == len;
    return fclose(file) == 0 && written ? 0 : -EIO;
}

static int make_photo(const struct options *options)
{
    const size_t size = (size_t)options->width * (size_t)options->height * 3;
    _cleanup_free_ uint8_t *rgb = malloc(size);
    unsigned char *jpeg = NULL;
    unsigned long jpeg_len = 0;
    struct scene scene;
    tjhandle compressor;
    int r;

    if (!rgb)
        return -ENOMEM;
    build_scene(&scene, options->seed, (float)options->width / (float)options->height);
    take_picture(&scene, options->width, options->height, rgb);
    compressor = tjInitCompress();
    if (!compressor)
        return -ENOMEM;
    r = tjCompress2(compressor, rgb, options->width, 0, options->height, TJPF_RGB, &jpeg, &jpeg_len,
        TJSAMP_420, options->quality, TJFLAG_ACCURATEDCT);
    r = r < 0 ? -EIO : write_file(options->output, jpeg, jpeg_len);
    tjFree(jpeg);
    tjDestroy(compressor);
    return r;
}

/* ---- the command line ---- */

static bool parse_number(
    const char *text, unsigned long long low, unsigned long long high, unsigned long long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *text != '-' && *ret >= low && *ret <= high;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"width", required_argument, NULL, 'w'},
        {"height", required_argument, NULL, 'h'},
        {"seed", required_argument, NULL, 's'},
        {"quality", required_argument, NULL, 'q'},
        {"output", required_argument, NULL, 'o'},
        {0},
    };
    unsigned long long number = 0;
    bool ok = true;

    for (int option; (option = getopt_long(argc, argv, "o:", names, NULL)) >= 0;)
        switch (option) {
        case 'w':
            ok = ok && parse_number(optarg, SIDE_MIN_PX, SIDE_MAX_PX, &number);
            options->width = (int)number;
            break;
        case 'h':
            ok = ok && parse_number(optarg, SIDE_MIN_PX, SIDE_MAX_PX, &number);
            options->height = (int)number;
            break;
        case 's':
            ok = ok && parse_number(optarg, 0, ULLONG_MAX, &number);
            options->seed = number;
            break;
        case 'q':
            ok = ok && parse_number(optarg, 1, 100, &number);
            options->quality = (int)number;
            break;
        case 'o':
            options->output = optarg;
            break;
        default:
            return false;
        }
    return ok && options->output && optind == argc;
}

int main(int argc, char **argv)
{
    struct options options = {.width = 1600, .height = 1200, .quality = 85, .seed = 1};
    int r;

    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr,
            "usage: make_photo [--width %d..%d] [--height %d..%d] [--seed N] [--quality 1..100] -o FILE\n",
            SIDE_MIN_PX, SIDE_MAX_PX, SIDE_MIN_PX, SIDE_MAX_PX);
        return 2;
    }
    r = make_photo(&options);
    if (r < 0) {
        fprintf(stderr, "make_photo: %s: %s\n", options.output, strerror(-r));
        return 1;
    }
    return 0;
}
