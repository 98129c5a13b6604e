/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what patrol-photo does with a photo's bytes. Whatever they are, there is a verdict, and a good photo
 * has its preview. */
#include "collector/photo/jpeg_walk.h"
#include "collector/photo/photo.h"

#include <stdio.h>

/* A few bytes may claim many pixels, and then each run takes a second: the claim is tested elsewhere. */
#define FUZZED_PIXELS_MAX (1024u * 1024u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool good)
{
    if (!good)
        abort();
}

static bool claims_many_pixels(struct bytes file)
{
    struct jpeg_walk walk;
    if (file.len > 2 && file.data[0] == 0xff)
        return jpeg_walk(file, &walk) == PHOTO_GOOD && (uint64_t)walk.width * walk.height > FUZZED_PIXELS_MAX;
    /* The two upper bytes of either side of a PNG, at their fixed place. */
    return file.len > 24 && (file.data[16] || file.data[17] || file.data[20] || file.data[21] ||
                                file.data[18] > 3 || file.data[22] > 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes file = bytes_of(data, size);
    if (claims_many_pixels(file))
        return 0;
    struct photo photo;
    if (photo_inspect(file, &photo) < 0)
        return 0;
    const struct photo_facts *facts = &photo.facts;
    if (facts->verdict == PHOTO_GOOD) {
        require(photo.preview && facts->preview_len >= 4 && facts->preview_len <= PREVIEW_BYTES_MAX);
        require(photo.preview[0] == 0xff && photo.preview[1] == 0xd8);
        require(
            photo.preview[facts->preview_len - 2] == 0xff && photo.preview[facts->preview_len - 1] == 0xd9);
    } else {
        require(!photo.preview);
    }
    /* What one side writes, the other must take. */
    char line[PHOTO_ANSWER_LINE_MAX];
    struct photo_facts again;
    int len = photo_answer_format(facts, line, sizeof(line));
    require(len > 0 && photo_answer_parse(line, (size_t)len, &again) == 0);
    photo_done(&photo);
    return 0;
}
